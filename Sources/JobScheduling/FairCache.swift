// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is kept for owners in case that they ask for it again, within bounds that they share: a pure account.
///
/// A value is found only by an owner who has put it in, and every owner is charged for all that he put in, even where another has
/// put in the same: so nobody can tell from what he finds, or from what goes, whether a certain value is there for somebody else.
/// When the bounds are reached, what was not used for the longest time goes, first of all of the one who wants more. The **share**
/// of an owner is a bound divided by the number of owners. Only within it does he push out what is others', and then that of the
/// one who has the most, which is more than a share.
public struct FairCache<Owner: Hashable & Sendable, Key: Hashable & Sendable, Value: Sendable>: Sendable {
    /// How much is kept.
    public struct Limits: Sendable, Hashable {
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        public var bytes: Int, entries: Int

        /// Bounds on the sum of the values' bytes and on their number; with a bound of 0 nothing is kept.
        public init(bytes: Int, entries: Int) { (self.bytes, self.entries) = (bytes, entries) }
    }

    private struct Entry {
        let value: Value
        let bytes: Int
        var lastUse: UInt64
    }

    private struct Shelf {
        var entries: [Key: Entry] = [:]
        var bytes = 0

        var oldest: (key: Key, entry: Entry)? {
            entries.min { $0.value.lastUse < $1.value.lastUse }.map { ($0.key, $0.value) }
        }
    }

    private enum Measure { case bytes, entries }

    private let limits: Limits
    private var shelves: [Owner: Shelf] = [:]
    private var clock: UInt64 = 0
    /// The sum of what is charged to all owners.
    public private(set) var bytes = 0
    /// How many values are kept, one that two owners have put in counted twice.
    public private(set) var count = 0

    /// An account of nothing.
    public init(limits: Limits) { self.limits = limits }

    /// What this owner has put in under the key, if it is still there. Counts as a use.
    public mutating func value(_ key: Key, of owner: Owner) -> Value? {
        guard let at = shelves[owner]?.entries.index(forKey: key) else { return nil }
        clock += 1
        shelves[owner]?.entries.values[at].lastUse = clock
        return shelves[owner]?.entries.values[at].value
    }

    /// What any owner has put in under the key: to keep one copy of what is the same. Never let it decide what an owner sees.
    public func storage(for key: Key) -> Value? {
        for shelf in shelves.values {
            if let entry = shelf.entries[key] { return entry.value }
        }
        return nil
    }

    /// Keeps a value, if there is room for it or this owner's share allows to make some. One that is there already is used.
    ///
    /// - Parameter bytes: at least 1.
    /// - Returns: whether the owner can find it now.
    @discardableResult
    public mutating func keep(_ value: Value, _ key: Key, bytes: Int, of owner: Owner) -> Bool {
        precondition(bytes > 0, "what is kept has bytes")
        if self.value(key, of: owner) != nil { return true }
        guard makeRoom(for: bytes, of: owner) else { return false }
        clock += 1
        shelves[owner, default: Shelf()].entries[key] = Entry(value: value, bytes: bytes, lastUse: clock)
        shelves[owner]?.bytes += bytes
        self.bytes += bytes
        count += 1
        return true
    }

    // MARK: Room

    private mutating func makeRoom(for bytes: Int, of owner: Owner) -> Bool {
        guard bytes <= limits.bytes, limits.entries > 0 else { return false }
        while true {
            let lacking: Measure
            if bytes > limits.bytes - self.bytes {
                lacking = .bytes
            } else if count == limits.entries {
                lacking = .entries
            } else {
                return true
            }
            guard let loser = loser(lacking, to: owner, wanting: bytes) else { return false }
            removeOldest(of: loser)
        }
    }

    /// Who has to give something up; nil if what is wanted is more than a share, for which nobody has to.
    private func loser(_ measure: Measure, to owner: Owner, wanting bytes: Int) -> Owner? {
        let owners = shelves.count + (shelves[owner] == nil ? 1 : 0)
        let share = (measure == .bytes ? limits.bytes : limits.entries) / owners
        let wanted = measure == .bytes ? bytes : 1
        guard wanted <= share else { return nil }
        if use(measure, of: owner) > share - wanted { return owner }
        // All others together have more than all others' shares, so that the largest has more than one.
        return shelves.keys.filter { $0 != owner }.max { isBetterOff($1, than: $0, measure) }
    }

    private func use(_ measure: Measure, of owner: Owner) -> Int {
        switch measure {
        case .bytes: shelves[owner]?.bytes ?? 0
        case .entries: shelves[owner]?.entries.count ?? 0
        }
    }

    /// Of two who have as much, the one whose oldest value is older counts as better off.
    private func isBetterOff(_ owner: Owner, than other: Owner, _ measure: Measure) -> Bool {
        let (one, two) = (use(measure, of: owner), use(measure, of: other))
        guard one == two else { return one > two }
        return shelves[owner]?.oldest?.entry.lastUse ?? 0 < shelves[other]?.oldest?.entry.lastUse ?? 0
    }

    private mutating func removeOldest(of owner: Owner) {
        guard let (key, entry) = shelves[owner]?.oldest else {
            preconditionFailure("who loses something has something")
        }
        shelves[owner]?.entries[key] = nil
        shelves[owner]?.bytes -= entry.bytes
        if shelves[owner]?.entries.isEmpty == true { shelves[owner] = nil }
        bytes -= entry.bytes
        count -= 1
    }
}
