// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import SeededRandom
import Testing

@testable import LinuxPersonality

@Suite struct FutexTests {
    private let word = Machine.data.lowerBound
    private let other = Machine.data.lowerBound + 0x100
    private enum Op {
        static let wait: UInt64 = 0, wake: UInt64 = 1, requeue: UInt64 = 3, compareRequeue: UInt64 = 4
        static let wakeOp: UInt64 = 5, waitBits: UInt64 = 9, wakeBits: UInt64 = 10
        static let isPrivate: UInt64 = 128, byRealTime: UInt64 = 256
    }

    /// Some threads that wait at an address in the order of their numbers; the first one runs.
    private func waiting(_ count: Int, at address: UInt64, bits: [UInt64] = []) throws -> Machine {
        let machine = try Machine()
        for _ in 0..<count { try machine.makeThread() }
        for index in 0..<count {
            try machine.turn(to: UInt32(index + 2))
            let mask = bits.isEmpty ? 0xFFFF_FFFF : bits[index]
            try machine.call(.futex, address, Op.waitBits | Op.isPrivate, 0, 0, 0, mask)
        }
        #expect(machine.thread == 1 && !machine.process.wantsTimeSlices)
        return machine
    }

    /// The threads that go on, in the order of their turns.
    private func awake(_ machine: Machine) throws -> [UInt32] {
        var found: [UInt32] = []
        while machine.process.wantsTimeSlices, !found.contains(machine.thread) {
            try machine.preempt()
            guard machine.thread != 1 else { continue }
            #expect(machine.result == 0)
            found.append(machine.thread)
            try machine.call(.pause)
        }
        return found
    }

    @Test func `who came first is woken first, and need not look again`() throws {
        let machine = try waiting(4, at: word)
        // The word changes before, and back after: whoever is woken goes on.
        try machine.put(5, at: word)
        #expect(try machine.value(.futex, word, Op.wake, 2) == 2)
        #expect(try awake(machine) == [2, 3])
        try machine.turn(to: 1)
        #expect(try machine.value(.futex, word, Op.wake, 100) == 2)
        #expect(try awake(machine) == [4, 5])
        try machine.turn(to: 1)
        #expect(try machine.value(.futex, word, Op.wake, 100) == 0)
    }

    @Test func `bits choose who is woken`() throws {
        let machine = try waiting(3, at: word, bits: [1, 2, 3])
        #expect(try machine.value(.futex, word, Op.wakeBits, 9, 0, 0, 2) == 2)
        #expect(try awake(machine) == [3, 4])
        try machine.turn(to: 1)
        #expect(try machine.value(.futex, word, Op.wakeBits, 9, 0, 0, 0) == .error(.einval))
        #expect(try machine.value(.futex, word, Op.waitBits, 0, 0, 0, 0) == .error(.einval))
        #expect(try machine.value(.futex, word, Op.wakeBits, 9, 0, 0, 1) == 1)
    }

    @Test func `requeued threads wait elsewhere, behind those that do already`() throws {
        let machine = try waiting(4, at: word)
        try machine.makeThread()
        try machine.turn(to: 6)
        try machine.call(.futex, other, Op.wait, 0)
        try machine.put(7, at: word)
        #expect(try machine.value(.futex, word, Op.compareRequeue, 1, 2, other, 6) == .error(.eagain))
        #expect(try machine.value(.futex, word, Op.compareRequeue, 1, 2, other, 7) == 3)
        #expect(try awake(machine) == [2])
        try machine.turn(to: 1)
        #expect(try machine.value(.futex, other, Op.wake, 2) == 2)
        #expect(try awake(machine) == [3, 6])
        try machine.turn(to: 1)
        #expect(try machine.value(.futex, word, Op.wake, 9) == 1)
        #expect(try machine.value(.futex, other, Op.wake, 9) == 1)
        #expect(try machine.value(.futex, word, Op.requeue, UInt64.max, 1, other) == .error(.einval))
    }

    @Test func `an operation on the other word decides whether its threads are woken`() throws {
        let machine = try waiting(2, at: word)
        try machine.turn(to: 1)
        try machine.makeThread()
        try machine.turn(to: 4)
        try machine.call(.futex, other, Op.wait, 0)
        // other += 3, and its thread is woken if it was above 0: it was not.
        #expect(try machine.value(.futex, word, Op.wakeOp, 1, 1, other, 1 << 28 | 4 << 24 | 3 << 12) == 1)
        #expect(try machine.word(other, bytes: 4) == 3)
        #expect(try machine.value(.futex, word, Op.wakeOp, 1, 1, other, 1 << 28 | 4 << 24 | 3 << 12) == 2)
        #expect(try machine.word(other, bytes: 4) == 6)
        // An unknown operation changes nothing, an unknown comparison comes too late.
        #expect(try machine.value(.futex, word, Op.wakeOp, 1, 1, other, 5 << 28) == .error(.enosys))
        #expect(try machine.value(.futex, word, Op.wakeOp, 1, 1, other, 1 << 28 | 9 << 24 | 1 << 12) == .error(.enosys))
        #expect(try machine.word(other, bytes: 4) == 7)
    }

    @Test(arguments: [
        (0 as UInt32, 5 as UInt32, 9 as UInt32), (1, 5, 14), (2, 0b1010, 0b1011), (3, 0b1011, 0b0010),
        (4, 0b1010, 0b0011),
    ])
    func `each change is what its name says`(change: UInt32, before: UInt32, after: UInt32) throws {
        let operation = try FutexOperation(change << 28 | 9 << 12)
        #expect(operation.changed(before) == after)
        // Signed arguments of 12 bits, and shifted ones.
        #expect(try FutexOperation(1 << 28 | 0xFFF << 12).changed(5) == 4)
        #expect(try FutexOperation(0x8000_0000 | 2 << 28 | 4 << 12).changed(1) == 17)
        #expect(try FutexOperation(0xFFF).operand == -1)
        let comparisons: [[Bool]] = try (0..<6).map { code in
            try [-2, -1, 0].map { try FutexOperation(code << 24 | 0xFFF).holds(UInt32(bitPattern: $0)) == true }
        }
        #expect(
            comparisons == [
                [false, true, false], [true, false, true], [true, false, false], [true, true, false],
                [false, false, true], [false, true, true],
            ])
    }

    @Test func `timeouts are relative or by either clock`() throws {
        let machine = try Machine()
        try machine.put(0, 700, at: other)
        #expect(try machine.call(.futex, word, Op.wait, 0, other) == .sleep(until: 1_700))
        #expect(try machine.sleep(700) == .run)
        #expect(machine.result == .error(.etimedout))
        #expect(try machine.call(.futex, word, Op.wait | Op.isPrivate, 0, other) == .sleep(until: 2_400))
        try machine.sleep(700)
        try machine.put(0, 9_000, at: other)
        #expect(try machine.call(.futex, word, Op.waitBits, 0, other, 0, 1) == .sleep(until: 9_000))
        try machine.sleep(9_000)
        #expect(machine.result == .error(.etimedout))
        try machine.put(1_700_000_000, 50_000, at: other)
        #expect(
            try machine.call(.futex, word, Op.waitBits | Op.byRealTime, 0, other, 0, 1) == .sleep(until: 51_000))
        try machine.sleep(1 << 40)
        #expect(machine.result == .error(.etimedout))
        // What is over already waits no longer; what is no time is refused.
        try machine.put(1_000_000_000, at: other + 16)
        #expect(try machine.value(.futex, word, Op.waitBits, 0, other + 8, 0, 1) == .error(.einval))
        #expect(try machine.value(.futex, word, Op.waitBits | Op.byRealTime, 0, other, 0, 1) == .error(.etimedout))
        #expect(try machine.value(.futex, word, Op.wait | Op.byRealTime, 0, other) == .error(.enosys))
    }

    @Test func `who is woken as the time is over was woken`() throws {
        let machine = try Machine()
        try machine.makeThread()
        try machine.put(0, 700, at: other)
        #expect(try machine.call(.futex, word, Op.wait, 0, other) == .run)
        machine.moment.monotonic += 700
        #expect(try machine.value(.futex, word, Op.wake, 1) == 1)
        try machine.preempt()
        #expect(machine.thread == 1 && machine.result == 0)
    }

    @Test func `what is no futex is refused`() throws {
        let machine = try Machine()
        let end: UInt64 = 0x8000_0000_0000
        let refused: [([UInt64], Errno)] = [
            ([word + 1, Op.wait, 0, 0], .einval), ([word + 2, Op.wake, 1, 0], .einval),
            ([Machine.nowhere, Op.wait, 0, 0], .efault), ([end, Op.wake, 1, 0], .efault),
            ([.max - 3, Op.wait, 0, 0], .efault), ([word, Op.wait, 0, Machine.nowhere], .efault),
            ([word, Op.wait, 0, .max - 3], .efault), ([word, Op.wait, 1, 0], .eagain),
            ([word, Op.wakeOp, 1, 1, Machine.nowhere, 0], .efault),
            ([word, Op.compareRequeue, 1, 1, word + 3, 0], .einval),
            ([Machine.nowhere, Op.compareRequeue, 1, 1, word, 0], .efault),
            ([word, 2, 0, 0], .enosys), ([word, 6, 0, 0], .enosys), ([word, 11, 0, 0], .enosys),
            ([word, 99, 0, 0], .enosys),
        ]
        for (arguments, error) in refused {
            let all = arguments + [0, 0]
            #expect(
                try machine.value(.futex, all[0], all[1], all[2], all[3], all[4], all[5]) == .error(error),
                "\(arguments)")
        }
        // Nobody can wait where nothing is, which is no error.
        #expect(try machine.value(.futex, Machine.nowhere, Op.wake, 1) == 0)
    }

    /// What is known of each thread by a model that has queues and nothing else.
    private struct Model {
        var queues: [UInt64: [UInt32]] = [:]
        var deadlines: [UInt32: UInt64] = [:]
        /// What a thread must find when it goes on.
        var results: [UInt32: Int64] = [:]

        mutating func wake(_ address: UInt64, _ count: Int) -> Int64 {
            let woken = queues[address, default: []].prefix(max(count, 1))
            for thread in woken { (results[thread], deadlines[thread]) = (0, nil) }
            queues[address]?.removeFirst(woken.count)
            return Int64(woken.count)
        }

        /// A thread whose time is over can be woken until it has had its turn.
        mutating func pass(to now: UInt64) {
            for (thread, deadline) in deadlines where deadline <= now {
                (results[thread], deadlines[thread]) = (.error(.etimedout), nil)
            }
        }

        /// What a thread finds that goes on, if it waited.
        mutating func goOn(_ thread: UInt32) -> Int64? {
            for address in queues.keys { queues[address]?.removeAll { $0 == thread } }
            return results.removeValue(forKey: thread)
        }

        mutating func requeue(_ address: UInt64, _ other: UInt64, _ waking: Int, _ moving: Int) -> Int64 {
            let woken = waking == 0 ? 0 : wake(address, waking)
            let moved = Array(queues[address, default: []].prefix(moving))
            queues[address]?.removeFirst(address == other ? 0 : moved.count)
            if address != other { queues[other, default: []] += moved }
            return woken + Int64(moved.count)
        }
    }

    @Test(arguments: 0..<24 as Range<UInt64>)
    func `whatever the order of turns, each thread finds what a model of queues says`(seed: UInt64) throws {
        var random = SplitMix64(state: seed)
        let machine = try Machine()
        let addresses = [word, other, word + 0x200]
        let time = word + 0x400
        for _ in 0..<7 { try machine.makeThread() }
        var model = Model()
        var waits = 0
        for _ in 0..<600 {
            // Results of threads that went on are looked at when they have the vCPU.
            if case .sleep = machine.course {
                guard let next = model.deadlines.values.min() else { break }
                #expect(machine.course == .sleep(until: next))
                model.pass(to: next)
                try machine.sleep(next - machine.moment.monotonic)
            }
            let thread = machine.thread
            let isQueued = model.queues.values.contains { $0.contains(thread) }
            let expected = model.goOn(thread)
            #expect(!isQueued || expected != nil, "thread \(thread) runs and waits")
            if let expected { #expect(machine.result == expected) }
            let address = addresses[Int.random(in: 0..<3, using: &random)]
            switch Int.random(in: 0..<10, using: &random) {
            case 0...4:
                let length: UInt64 = Bool.random(using: &random) ? UInt64.random(in: 1...500, using: &random) : 0
                try machine.put(0, length, at: time)
                model.queues[address, default: []].append(thread)
                if length > 0 { model.deadlines[thread] = machine.moment.monotonic + length }
                try machine.call(.futex, address, Op.wait, 0, length > 0 ? time : 0)
                waits += 1
            case 5, 6:
                let count = Int.random(in: 1...3, using: &random)
                #expect(try machine.value(.futex, address, Op.wake, UInt64(count)) == model.wake(address, count))
            case 7:
                let target = addresses[Int.random(in: 0..<3, using: &random)]
                let (waking, moving) = (Int.random(in: 0...2, using: &random), Int.random(in: 0...3, using: &random))
                let expected = model.requeue(address, target, waking, moving)
                #expect(
                    try machine.value(.futex, address, Op.requeue, UInt64(waking), UInt64(moving), target) == expected)
            default:
                let passed = UInt64.random(in: 0...200, using: &random)
                model.pass(to: machine.moment.monotonic + passed)
                try machine.preempt(after: passed)
            }
        }
        #expect(waits > 5)
    }
}
