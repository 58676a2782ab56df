// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a worker keeps by name for its users: a bounded store in which nobody can push out what others have within their share.
///
/// Room is made by dropping what was used least recently, of the user who holds the most. So a lone user can have all of the
/// store, and with several each one keeps at least its equal share of it.
///
/// What a job that waits or runs starts from is in use and never dropped. So somebody may find no room for something within its
/// share. From then on, until there is, nobody else gets a use with more than a share in use: as jobs end, room comes up. Who does
/// not try again within ``patience`` wants none any more. Confined to the event loop.
struct SnapshotStore<Content> {
    /// What may be kept.
    struct Limits: Sendable, Hashable {
        /// Bytes of all snapshots together.
        var bytes: UInt64
        /// The most snapshots. Each counts for at least its part of ``bytes``.
        var count: Int
    }

    /// Whose a snapshot is, and what it is called.
    struct Key: Sendable, Hashable {
        var owner: UInt32
        var name: ContentDigest
    }

    /// One use of a snapshot, to be given back.
    struct Use: Hashable {
        fileprivate let entry: UInt64
    }

    private struct Entry {
        let number: UInt64
        let key: Key
        let content: Content
        let weight: UInt64
        var uses = 0
        /// Replaced by a later one of the same name, and here for the jobs that use it.
        var isReplaced = false
    }

    /// There is no use now, though the snapshot is there: others want room.
    struct Crowded: Error, Hashable {
        /// Bytes that this user would have in use, and those that it may have.
        var bytes: UInt64, share: UInt64
    }

    /// For how long others make room for somebody who found none: 1 min.
    static var patience: Duration { .seconds(60) }

    let limits: Limits
    /// Who found no room for something within its share, and when.
    private var wanting: [UInt32: ContinuousClock.Instant] = [:]
    /// From the least recently used to the most.
    private var entries: [Entry] = []
    private var lastNumber: UInt64 = 0
    private var weight: UInt64 = 0

    init(limits: Limits) { self.limits = limits }

    /// How many are kept, those that are replaced and still in use included.
    var count: Int { entries.count }

    /// Keeps a snapshot under its name, in place of an earlier one. Returns false, and changes nothing, where there is no room for
    /// it, since it is too large or what is there is in use.
    mutating func keep(_ content: Content, as key: Key, bytes: UInt64, at now: ContinuousClock.Instant = .now) -> Bool {
        let weight = max(bytes, limits.bytes / UInt64(max(1, limits.count)))
        guard let roomy = withRoom(for: weight, as: key) else {
            noteWant(of: key.owner, weight, now)
            return false
        }
        self = roomy
        wanting[key.owner] = nil
        lastNumber += 1
        entries.append(Entry(number: lastNumber, key: key, content: content, weight: weight))
        self.weight += weight
        return true
    }

    /// The snapshot of this name, which is in use from now on; nil where this user has none.
    mutating func use(
        _ key: Key, at now: ContinuousClock.Instant = .now
    ) throws(Crowded) -> (content: Content, use: Use)? {
        guard let index = entries.firstIndex(where: { $0.key == key && !$0.isReplaced }) else { return nil }
        try checkShare(of: key.owner, using: entries[index], now)
        var entry = entries.remove(at: index)
        entry.uses += 1
        entries.append(entry)
        return (entry.content, Use(entry: entry.number))
    }

    /// Gives a use back.
    mutating func release(_ use: Use) {
        guard let index = entries.firstIndex(where: { $0.number == use.entry }) else {
            preconditionFailure("what is in use is not dropped")
        }
        entries[index].uses -= 1
        if entries[index].uses == 0, entries[index].isReplaced { remove(at: index) }
    }

    private mutating func replace(_ key: Key) {
        guard let index = entries.firstIndex(where: { $0.key == key && !$0.isReplaced }) else { return }
        if entries[index].uses == 0 { remove(at: index) } else { entries[index].isReplaced = true }
    }

    private mutating func remove(at index: Int) { weight -= entries.remove(at: index).weight }

    // MARK: Shares

    /// Somebody has found no room. What is more than a share nobody has to make room for.
    private mutating func noteWant(of owner: UInt32, _ wanted: UInt64, _ now: ContinuousClock.Instant) {
        wanting = wanting.filter { now - $0.value < Self.patience }
        wanting[owner] = now
        if wanted + bytesInUse(by: owner) > share { wanting[owner] = nil }
    }

    private mutating func checkShare(of owner: UInt32, using entry: Entry, _ now: ContinuousClock.Instant)
        throws(Crowded)
    {
        guard !wanting.isEmpty else { return }
        wanting = wanting.filter { now - $0.value < Self.patience }
        guard wanting.keys.contains(where: { $0 != owner }) else { return }
        let bytes = bytesInUse(by: owner) + (entry.uses == 0 ? entry.weight : 0)
        guard bytes <= share else { throw Crowded(bytes: bytes, share: share) }
    }

    private func bytesInUse(by owner: UInt32) -> UInt64 {
        entries.reduce(0) { $0 + ($1.key.owner == owner && $1.uses > 0 ? $1.weight : 0) }
    }

    /// An equal part of the store for each who has something in it or wants to.
    private var share: UInt64 { limits.bytes / UInt64(max(1, Set(entries.map(\.key.owner)).union(wanting.keys).count)) }

    // MARK: Room

    /// What the store would be with room for this, and without the earlier one of its name.
    private func withRoom(for wanted: UInt64, as key: Key) -> Self? {
        var store = self
        store.replace(key)
        return store.makeRoom(for: wanted, of: key.owner) ? store : nil
    }

    private mutating func makeRoom(for wanted: UInt64, of owner: UInt32) -> Bool {
        guard wanted <= limits.bytes else { return false }
        while weight > limits.bytes - wanted {
            guard let index = dispensable(to: owner, wanting: wanted) else { return false }
            remove(at: index)
        }
        return true
    }

    /// What to drop next: of the one who holds the most, and of nobody who holds less than this owner will.
    private func dispensable(to owner: UInt32, wanting wanted: UInt64) -> Int? {
        var held: [UInt32: UInt64] = [owner: wanted]
        for entry in entries { held[entry.key.owner, default: 0] += entry.weight }
        let own = held[owner, default: 0]
        let candidates = entries.indices.filter { index in
            let entry = entries[index]
            return entry.uses == 0 && (entry.key.owner == owner || held[entry.key.owner, default: 0] > own)
        }
        let most = candidates.map { held[entries[$0].key.owner, default: 0] }.max()
        return candidates.first { held[entries[$0].key.owner, default: 0] == most }
    }
}
