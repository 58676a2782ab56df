// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A thread's place in the queue of a `futex`. The queue is all threads with such a place, in the order that they came.
struct FutexPlace: Sendable, Hashable {
    /// The word's address: there is one address space, so that it makes no difference whether the queue is private.
    var address: UInt64
    /// Which wakers are heard.
    var bits: UInt32
    /// Rises from thread to thread.
    var order: UInt64
    /// When the thread gives up, by the monotonic clock.
    var deadline: UInt64?
    /// Somebody woke the thread: its call succeeds, whatever the word holds now.
    var isWoken = false
}

/// What `FUTEX_WAKE_OP` does to its second word, and what it compares.
struct FutexOperation: Sendable, Hashable {
    enum Change: UInt32 { case set = 0, add, or, andNot, xor }
    enum Comparison: UInt32 { case equal = 0, different, less, lessOrEqual, greater, greaterOrEqual }

    let change: Change
    let argument: UInt32
    /// nil for what is unknown, which is refused when the word has been changed.
    let comparison: Comparison?
    let operand: Int32

    /// - Throws: ENOSYS for an unknown change.
    init(_ code: UInt32) throws(Errno) {
        guard let change = Change(rawValue: code >> 28 & 7) else { throw .enosys }
        self.change = change
        let argument = Int32(bitPattern: code << 8) >> 20
        // FUTEX_OP_OPARG_SHIFT
        self.argument = code >> 31 == 0 ? UInt32(bitPattern: argument) : 1 << UInt32(argument & 31)
        comparison = Comparison(rawValue: code >> 24 & 15)
        operand = Int32(bitPattern: code << 20) >> 20
    }

    func changed(_ word: UInt32) -> UInt32 {
        switch change {
        case .set: argument
        case .add: word &+ argument
        case .or: word | argument
        case .andNot: word & ~argument
        case .xor: word ^ argument
        }
    }

    /// Whether the word, as it was, compares that way; nil if there is no such way.
    func holds(_ word: UInt32) -> Bool? {
        let word = Int32(bitPattern: word)
        return switch comparison {
        case .equal: word == operand
        case .different: word != operand
        case .less: word < operand
        case .lessOrEqual: word <= operand
        case .greater: word > operand
        case .greaterOrEqual: word >= operand
        case nil: nil
        }
    }
}

extension ThreadTable {
    /// Wakes threads that wait at an address, those first that came first; at least one, if any waits.
    mutating func wakeFutex(_ address: UInt64, atMost count: Int32, bits: UInt32 = .max) -> Int {
        let waiting = queue(at: address, bits).prefix(Int(max(count, 1)))
        for index in waiting { wakeFutex(index) }
        return waiting.count
    }

    /// Wakes some threads that wait at an address, and lets some of the others wait at another instead, behind those that do.
    mutating func requeue(_ address: UInt64, to other: UInt64, waking: Int32, moving: Int32) -> Int {
        let waiting = queue(at: address, .max).prefix(Int(waking) + Int(moving))
        for (number, index) in waiting.enumerated() {
            if number < Int(waking) {
                wakeFutex(index)
            } else if address != other {
                self[index].futex?.address = other
                let order = newPlace()
                self[index].futex?.order = order
            }
        }
        return waiting.count
    }

    private mutating func wakeFutex(_ index: Int) {
        self[index].futex?.isWoken = true
        wake(index)
    }

    /// Threads that wait there and were not woken, in order.
    private func queue(at address: UInt64, _ bits: UInt32) -> [Int] {
        guard count > 1 else { return [] }
        var found: [(order: UInt64, index: Int)] = []
        for index in indices {
            guard let place = self[index].futex, place.address == address, place.bits & bits != 0, !place.isWoken else {
                continue
            }
            found.append((place.order, index))
        }
        return found.sorted { $0.order < $1.order }.map(\.index)
    }
}
