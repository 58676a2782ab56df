// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import SeededRandom
import Testing

@testable import Worker

private typealias Cache = FairCache<Int, Int, String>

@Suite struct FairCacheTests {
    private func cache(bytes: Int = 100, entries: Int = 10) -> Cache {
        Cache(limits: .init(bytes: bytes, entries: entries))
    }

    @Test func `a value is found by who put it in and by nobody else`() {
        var cache = cache()
        #expect(cache.keep("a", 1, bytes: 10, of: 7) == true)
        #expect(cache.value(1, of: 7) == "a")
        #expect(cache.value(1, of: 8) == nil && cache.value(2, of: 7) == nil)
        #expect(cache.keep("also a", 1, bytes: 10, of: 8) == true)
        #expect(cache.value(1, of: 8) == "also a" && cache.value(1, of: 7) == "a")
        #expect(cache.count == 2 && cache.bytes == 20, "what two have put in is charged to both")
        #expect(cache.storage(for: 1) != nil && cache.storage(for: 2) == nil)
    }

    @Test func `what was used least recently goes first`() {
        var cache = cache(entries: 3)
        for key in 1...3 { cache.keep("\(key)", key, bytes: 1, of: 0) }
        #expect(cache.value(1, of: 0) == "1")
        cache.keep("4", 4, bytes: 1, of: 0)
        #expect(cache.value(2, of: 0) == nil)
        cache.keep("3 again", 3, bytes: 1, of: 0)
        cache.keep("5", 5, bytes: 1, of: 0)
        #expect(cache.value(1, of: 0) == nil && cache.value(3, of: 0) == "3", "to keep it again was a use")
    }

    @Test func `the bounds are reached and never passed`() {
        var cache = cache(bytes: 100, entries: 10)
        #expect(cache.keep("all", 1, bytes: 100, of: 0) && cache.bytes == 100)
        #expect(!cache.keep("more", 2, bytes: 101, of: 0) && cache.bytes == 100, "what cannot fit pushes nothing out")
        #expect(cache.keep("half", 3, bytes: 50, of: 0) && cache.bytes == 50)
        for key in 10..<30 { cache.keep("", key, bytes: 1, of: 0) }
        #expect(cache.count == 10 && cache.bytes == 10)
        var none = self.cache(bytes: 0)
        #expect(none.keep("", 1, bytes: 1, of: 0) == false)
        var few = self.cache(entries: 0)
        #expect(!few.keep("", 1, bytes: 1, of: 0) && few.count == 0)
    }

    @Test func `an owner who floods the cache loses his own, and another keeps a share`() {
        var cache = cache(bytes: 100, entries: 1000)
        for key in 1...5 { cache.keep("mine", key, bytes: 10, of: 1) }
        for key in 100..<300 { cache.keep("flood", key, bytes: 5, of: 2) }
        #expect((1...5).allSatisfy { cache.value($0, of: 1) == "mine" })
        #expect(cache.bytes == 100)
        #expect(cache.value(299, of: 2) == "flood" && cache.value(290, of: 2) == "flood")
        #expect(cache.value(289, of: 2) == nil, "50 bytes are a share of two")
    }

    @Test func `who comes late gets a share from the one who has most`() {
        var cache = cache(bytes: 90, entries: 1000)
        for key in 1...6 { cache.keep("", key, bytes: 10, of: 1) }
        for key in 1...3 { cache.keep("", key, bytes: 10, of: 2) }
        for key in 1...3 { #expect(cache.keep("", key, bytes: 10, of: 3) == true) }
        #expect((1...3).allSatisfy { cache.value($0, of: 2) != nil }, "within his share nobody loses anything")
        #expect((1...3).allSatisfy { cache.value($0, of: 1) == nil })
        #expect((4...6).allSatisfy { cache.value($0, of: 1) != nil })
        cache.keep("", 4, bytes: 10, of: 3)
        #expect(cache.value(1, of: 3) == nil && cache.value(4, of: 3) != nil, "beyond it he loses his own")
    }

    @Test func `what is more than a share is kept where there is room, and makes none`() {
        var cache = cache(bytes: 100)
        cache.keep("", 1, bytes: 30, of: 1)
        #expect(cache.keep("", 1, bytes: 70, of: 2) == true)
        #expect(cache.keep("", 2, bytes: 60, of: 2) == false)
        #expect(cache.value(1, of: 1) != nil && cache.value(1, of: 2) != nil)
    }

    /// By a search among all of them this would take hours.
    @Test(.timeLimit(.minutes(1))) func `what makes room is found without a search among the entries`() {
        let entries = 200_000
        var cache = cache(bytes: 2 * entries, entries: entries)
        for key in 1...(2 * entries) { cache.keep("", key, bytes: 1, of: 1) }
        let (gone, oldest) = (cache.value(entries, of: 1), cache.value(entries + 1, of: 1))
        #expect(cache.count == entries && gone == nil && oldest != nil)
        let isKept = cache.keep("large", 0, bytes: 2 * entries - 1, of: 1)
        let used = cache.value(entries + 1, of: 1)
        #expect(isKept && cache.count == 2 && used != nil, "it was the last that was used")
    }

    @Test(arguments: [UInt64](1...8)) func `the account is what a list would be`(seed: UInt64) {
        var random = SplitMix64(state: seed)
        let limits = Cache.Limits(bytes: Int(random.next() % 200) + 1, entries: Int(random.next() % 12) + 1)
        var (cache, model) = (Cache(limits: limits), Model(limits: limits))
        var wrong = 0
        for step in 0..<20_000 {
            let (owner, key) = (Int(random.next() % 4), Int(random.next() % 20))
            if random.next() % 2 == 0 {
                if cache.value(key, of: owner) != model.value(key, of: owner) { wrong += 1 }
            } else {
                let bytes = Int(random.next() % 60) + 1
                let before = model.held
                let kept = cache.keep("\(step)", key, bytes: bytes, of: owner)
                if kept != model.keep("\(step)", key, bytes: bytes, of: owner) { wrong += 1 }
                if !model.isFair(to: owner, wanting: bytes, before: before) { wrong += 1 }
            }
            if cache.bytes != model.bytes || cache.count != model.held.count { wrong += 1 }
            if cache.bytes > limits.bytes || cache.count > limits.entries { wrong += 1 }
        }
        #expect(wrong == 0)
    }
}

/// The same account as a list that is searched for everything.
private struct Model {
    struct Held: Equatable {
        var owner: Int, key: Int, bytes: Int, value: String, use: Int
    }

    let limits: Cache.Limits
    var held: [Held] = []
    private var clock = 0

    init(limits: Cache.Limits) { self.limits = limits }

    var bytes: Int { held.map(\.bytes).reduce(0, +) }

    mutating func value(_ key: Int, of owner: Int) -> String? {
        guard let index = held.firstIndex(where: { $0.owner == owner && $0.key == key }) else { return nil }
        clock += 1
        held[index].use = clock
        return held[index].value
    }

    mutating func keep(_ value: String, _ key: Int, bytes: Int, of owner: Int) -> Bool {
        if self.value(key, of: owner) != nil { return true }
        guard bytes <= limits.bytes else { return false }
        while self.bytes + bytes > limits.bytes || held.count + 1 > limits.entries {
            let weigh: (Held) -> Int = self.bytes + bytes > limits.bytes ? { $0.bytes } : { _ in 1 }
            let share = (self.bytes + bytes > limits.bytes ? limits.bytes : limits.entries) / owners(with: owner)
            let wanted = self.bytes + bytes > limits.bytes ? bytes : 1
            if wanted > share { return false }
            let mine = held.filter { $0.owner == owner }.map(weigh).reduce(0, +)
            let loser = mine + wanted > share ? owner : richest(besides: owner, weigh)
            let oldest = held.filter { $0.owner == loser }.min { $0.use < $1.use }
            held.removeAll { $0 == oldest }
        }
        clock += 1
        held.append(Held(owner: owner, key: key, bytes: bytes, value: value, use: clock))
        return true
    }

    private func owners(with owner: Int) -> Int { Set(held.map(\.owner) + [owner]).count }

    private func richest(besides owner: Int, _ weigh: (Held) -> Int) -> Int? {
        let others = Dictionary(grouping: held.filter { $0.owner != owner }, by: \.owner)
        return others.min { one, two in
            let (first, second) = (one.value.map(weigh).reduce(0, +), two.value.map(weigh).reduce(0, +))
            if first != second { return first > second }
            return one.value.map(\.use).min() ?? 0 < two.value.map(\.use).min() ?? 0
        }?.key
    }

    /// Whether nobody who had no more than a share has lost something to this owner.
    func isFair(to owner: Int, wanting bytes: Int, before: [Held]) -> Bool {
        let owners = Set(before.map(\.owner) + [owner]).count
        return Set(before.map(\.owner)).subtracting([owner]).allSatisfy { other in
            let had = before.filter { $0.owner == other }
            let isPoor = had.map(\.bytes).reduce(0, +) <= limits.bytes / owners && had.count <= limits.entries / owners
            return !isPoor || held.filter { $0.owner == other }.map(\.key) == had.map(\.key)
        }
    }
}
