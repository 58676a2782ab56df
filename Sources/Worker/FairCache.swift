// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is kept for owners in case that they ask for it again, within bounds that they share: a pure account.
///
/// A value is found only by an owner who has put it in, and every owner is charged for all that he put in, even where another has
/// put in the same: so nobody can tell from what he finds, or from what goes, whether a certain value is there for somebody else.
/// When the bounds are reached, what was not used for the longest time goes, first of all of the one who wants more. The **share**
/// of an owner is a bound divided by the number of owners. Only within it does he push out what is others', and then that of the
/// one who has the most, which is more than a share. To find what goes takes a step for each owner, and none for each value.
///
/// It lives beside those who use it, and not in a module of accounts, so that the compiler makes code for their types.
struct FairCache<Owner: Hashable & Sendable, Key: Hashable & Sendable, Value: Sendable>: Sendable {
    /// Bounds on the sum of the values' bytes and on their number; with a bound of 0 nothing is kept.
    struct Limits: Sendable, Hashable {
        var bytes: Int, entries: Int
        /// The most bytes of one owner, whether or not others want room.
        var bytesPerOwner = Int.max
    }

    private enum Measure { case bytes, entries }

    private let limits: Limits
    private var shelves: [Owner: RecencyShelf<Key, Value>] = [:]
    private var clock: UInt64 = 0
    /// The sum of what is charged to all owners.
    private(set) var bytes = 0
    /// How many values are kept, one that two owners have put in counted twice.
    private(set) var count = 0

    /// An account of nothing.
    init(limits: Limits) { self.limits = limits }

    /// What this owner has put in under the key, if it is still there. Counts as a use.
    mutating func value(_ key: Key, of owner: Owner) -> Value? {
        clock += 1
        return shelves[owner]?.use(key, at: clock)
    }

    /// What any owner has put in under the key: to keep one copy of what is the same. Never let it decide what an owner sees.
    func storage(for key: Key) -> Value? {
        for shelf in shelves.values {
            if let value = shelf.peek(key) { return value }
        }
        return nil
    }

    /// What is charged to this owner.
    func bytes(of owner: Owner) -> Int { use(.bytes, of: owner) }

    /// Keeps a value, if there is room for it or this owner's share allows to make some. One that is there already is used.
    ///
    /// - Parameter bytes: at least 1.
    /// - Returns: whether the owner can find it now.
    @discardableResult
    mutating func keep(_ value: Value, _ key: Key, bytes: Int, of owner: Owner) -> Bool {
        precondition(bytes > 0, "what is kept has bytes")
        if self.value(key, of: owner) != nil { return true }
        guard makeRoom(for: bytes, of: owner) else { return false }
        clock += 1
        shelves[owner, default: RecencyShelf()].add(value, key, bytes: bytes, at: clock)
        self.bytes += bytes
        count += 1
        return true
    }

    // MARK: Room

    private mutating func makeRoom(for bytes: Int, of owner: Owner) -> Bool {
        guard bytes <= min(limits.bytes, limits.bytesPerOwner), limits.entries > 0 else { return false }
        while use(.bytes, of: owner) > limits.bytesPerOwner - bytes { removeOldest(of: owner) }
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
        case .entries: shelves[owner]?.count ?? 0
        }
    }

    /// Of two who have as much, the one whose oldest value is older counts as better off.
    private func isBetterOff(_ owner: Owner, than other: Owner, _ measure: Measure) -> Bool {
        let (one, two) = (use(measure, of: owner), use(measure, of: other))
        guard one == two else { return one > two }
        return shelves[owner]?.oldestUse ?? 0 < shelves[other]?.oldestUse ?? 0
    }

    private mutating func removeOldest(of owner: Owner) {
        bytes -= shelves[owner]?.removeOldest() ?? 0
        count -= 1
        if shelves[owner]?.count == 0 { shelves[owner] = nil }
    }
}
