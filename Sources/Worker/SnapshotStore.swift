// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a worker keeps by name for its users: a bounded store in which nobody can push out what others have within their share.
///
/// Room is made by dropping what was used least recently, of the user who holds the most. So a lone user can have all of the
/// store, and with several each one keeps at least its equal share of it. What a job that waits or runs starts from is in use and
/// never dropped. Confined to the event loop.
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

    let limits: Limits
    /// From the least recently used to the most.
    private var entries: [Entry] = []
    private var lastNumber: UInt64 = 0
    private var weight: UInt64 = 0

    init(limits: Limits) { self.limits = limits }

    /// How many are kept, those that are replaced and still in use included.
    var count: Int { entries.count }

    /// Keeps a snapshot under its name, in place of an earlier one. Returns false where there is no room for it, since it is too large
    /// or what its owner has is in use; what was dropped to make room stays dropped.
    mutating func keep(_ content: Content, as key: Key, bytes: UInt64) -> Bool {
        replace(key)
        let weight = max(bytes, limits.bytes / UInt64(max(1, limits.count)))
        guard makeRoom(for: weight, of: key.owner) else { return false }
        lastNumber += 1
        entries.append(Entry(number: lastNumber, key: key, content: content, weight: weight))
        self.weight += weight
        return true
    }

    /// The snapshot of this name, which is in use from now on; nil where this user has none.
    mutating func use(_ key: Key) -> (content: Content, use: Use)? {
        guard let index = entries.firstIndex(where: { $0.key == key && !$0.isReplaced }) else { return nil }
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

    // MARK: Room

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
