// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import LinuxPersonality

@Suite struct ThreadTests {
    private let word = Machine.data.lowerBound

    @Test func `a thread goes on behind clone, with its own stack and base`() throws {
        let machine = try Machine()
        machine.processor.fsBase = 0x1111
        machine.processor.registers.rbx = 77
        machine.processor.state[24] = 0x80
        let number = try machine.value(.clone, 0x1D_0F00 | 0x100_0000 | 0x20_0000, 0x8_0000, word, word + 4, 0x7777)
        #expect(number == 2)
        #expect(try machine.word(word, bytes: 4) == 2 && machine.word(word + 4, bytes: 4) == 2)
        #expect(machine.process.wantsTimeSlices)
        machine.processor.state[24] = 0x33
        try machine.preempt()
        let registers = machine.processor.registers
        #expect(machine.thread == 2 && registers.rax == 0 && registers.rsp == 0x8_0000 && registers.rbx == 77)
        #expect(machine.processor.fsBase == 0x7777 && machine.processor.state[24] == 0x80)
        machine.processor.fsBase = 0x7778
        #expect(try machine.value(.gettid) == 2)
        #expect(try machine.value(.getpid) == 1)
        try machine.preempt()
        #expect(machine.thread == 1 && machine.processor.fsBase == 0x1111 && machine.processor.state[24] == 0x33)
        try machine.preempt()
        #expect(machine.thread == 2 && machine.processor.fsBase == 0x7778)
    }

    @Test func `without other threads nothing is exchanged`() throws {
        let machine = try Machine()
        #expect(!machine.process.wantsTimeSlices && machine.process.nextTimer == nil)
        for _ in 0..<10 { #expect(try machine.value(.gettid) == 1) }
        try machine.put(0, 1_000_000, at: word)
        #expect(try machine.call(.nanosleep, word) == .sleep(until: 1_001_000))
        #expect(try machine.sleep(1_000_000) == .run)
        #expect(machine.result == 0)
        try machine.preempt()
        #expect(machine.processor.transfers == 0)
    }

    @Test func `what is no thread is refused, and named in the result`() throws {
        let machine = try Machine()
        // SIGCHLD alone; vfork's flags; without handlers; handlers without memory; a namespace; a base that is no program's.
        let refused: [(UInt64, UInt64, Errno)] = [
            (17, 0, .enosys), (0x4111, 0, .enosys), (0x1_0700, 0, .einval), (0x1_0F00 & ~0x200, 0, .einval),
            (0x800, 0, .einval), (0x1_0F00 | 0x2000_0000, 0, .eperm), (0x9_0F00, 0x8000_0000_0000, .eperm),
        ]
        for (flags, base, error) in refused {
            #expect(try machine.value(.clone, flags, 0, 0, 0, base) == .error(error), "\(flags)")
        }
        for call in [SystemCall.fork, .vfork, .clone3, .rseq, .ioUringSetup] {
            #expect(try machine.value(call) == .error(.enosys))
        }
        // Those that the C library only tries are not worth a word.
        #expect(machine.process.counts.unknown == [56, 57, 58, 425])
    }

    @Test func `a bomb of threads ends at the limit`() throws {
        let machine = try Machine()
        for number in 2...ThreadTable.limit { #expect(try machine.makeThread() == UInt32(number)) }
        #expect(try machine.value(.clone, 0x3D_0F00) == .error(.eagain))
        // One that ends makes room for one.
        try machine.preempt()
        try machine.call(.exit, 0)
        try machine.turn(to: 1)
        #expect(try machine.makeThread() == UInt32(ThreadTable.limit) + 1)
        #expect(try machine.value(.clone, 0x3D_0F00) == .error(.eagain))
    }

    @Test func `all have their turns, one after the other`() throws {
        let machine = try Machine()
        for _ in 0..<3 { try machine.makeThread() }
        var order: [UInt32] = []
        for _ in 0..<8 {
            try machine.preempt()
            order.append(machine.thread)
        }
        #expect(order == [2, 3, 4, 1, 2, 3, 4, 1])
        order = []
        for _ in 0..<5 {
            try machine.call(.schedYield)
            #expect(machine.result == 0)
            order.append(machine.thread)
        }
        #expect(order == [2, 3, 4, 1, 2])
    }

    @Test func `who joins a thread is woken by its end`() throws {
        let machine = try Machine()
        try machine.put(2, at: word)
        try machine.makeThread(clearing: word)
        #expect(try machine.call(.futex, word, 0, 2) == .run)
        #expect(machine.thread == 2)
        #expect(try machine.call(.exit, 5) == .run)
        #expect(machine.thread == 1 && machine.result == 0)
        #expect(try machine.word(word, bytes: 4) == 0)
        #expect(try machine.call(.exit, 3) == .over(.exited(status: 3)))
    }

    @Test func `a process ends with its last thread, with what the first one left`() throws {
        let machine = try Machine()
        try machine.makeThread()
        try machine.makeThread()
        #expect(try machine.call(.exit, 7) == .run)
        #expect(machine.thread == 2)
        #expect(try machine.call(.exit, 8) == .run)
        #expect(machine.thread == 3)
        #expect(try machine.call(.exit, 9) == .over(.exited(status: 7)))
        let other = try Machine()
        try other.makeThread()
        #expect(try other.call(.exitGroup, 0x123) == .over(.exited(status: 0x23)))
    }

    @Test func `sleepers wake in time, and another's call goes on meanwhile`() throws {
        let machine = try Machine()
        try machine.makeThread()
        try machine.makeThread()
        try machine.put(0, 500, at: word)
        try machine.put(0, 300, at: word + 16)
        #expect(try machine.call(.nanosleep, word) == .run)
        #expect(machine.thread == 2 && machine.process.nextTimer == 1_500)
        #expect(try machine.call(.nanosleep, word + 16) == .run)
        #expect(machine.thread == 3 && machine.process.nextTimer == 1_300)
        #expect(!machine.process.wantsTimeSlices)
        #expect(try machine.preempt(after: 300) == .run)
        #expect(machine.thread == 2 && machine.result == 0)
        try machine.turn(to: 3)
        #expect(machine.process.nextTimer == 1_500)
        #expect(try machine.call(.pause) == .run)
        #expect(machine.thread == 2)
        #expect(try machine.call(.pause) == .sleep(until: 1_500))
        #expect(try machine.sleep(100) == .sleep(until: 1_500))
        #expect(try machine.sleep(100) == .run)
        #expect(machine.thread == 1 && machine.result == 0)
        // Nobody is left who could wake them.
        #expect(try machine.call(.pause) == .sleep(until: nil))
        #expect(try machine.sleep(1 << 60) == .sleep(until: nil))
    }

    @Test func `a pipe and standard input wake who reads them`() throws {
        let machine = try Machine()
        #expect(try machine.value(.pipe2, word) == 0)
        #expect(try machine.word(word) == 4 << 32 | 3)
        try machine.makeThread()
        #expect(try machine.call(.read, 3, word + 64, 8) == .run)
        #expect(machine.thread == 2)
        try machine.put(0x1122_3344, at: word + 128)
        #expect(try machine.value(.write, 4, word + 128, 4) == 4)
        #expect(machine.process.wantsTimeSlices)
        #expect(try machine.call(.read, 0, word + 256, 16) == .run)
        #expect(machine.thread == 1 && machine.result == 4)
        #expect(try machine.word(word + 64) == 0x1122_3344)
        #expect(try machine.call(.read, 3, word + 64, 8) == .sleep(until: nil))
        machine.process.supply([5, 6], isEnd: false)
        #expect(try machine.sleep(0) == .run)
        #expect(machine.thread == 2 && machine.result == 2)
    }

    @Test func `locks of a thread that ends are marked, whatever its list looks like`() throws {
        let machine = try Machine()
        let (head, lock, other) = (word, word + 0x100, word + 0x200)
        func tie(next: UInt64, open: UInt64 = 0) throws { try machine.put(next, 16, open, at: head) }
        func end(_ list: UInt64) throws {
            try machine.makeThread()
            try machine.turn(to: machine.process.threads[machine.process.threads.count - 1].number)
            try machine.put(UInt64(machine.thread) | 1 << 31, at: lock + 16)
            try machine.put(UInt64(machine.thread), at: other + 16)
            #expect(try machine.value(.setRobustList, list, 24) == 0)
            try machine.call(.exit)
            try machine.turn(to: 1)
        }
        try machine.put(other, at: lock)
        try machine.put(head, at: other)
        try tie(next: lock)
        try end(head)
        #expect(try machine.word(lock + 16, bytes: 4) == 0xC000_0000)
        #expect(try machine.word(other + 16, bytes: 4) == 0x4000_0000)
        // A list without an end, one that leads nowhere, one at no address.
        try machine.put(lock, at: other)
        try end(head)
        #expect(try machine.word(lock + 16, bytes: 4) == 0xC000_0000)
        try tie(next: Machine.nowhere)
        try end(head)
        try end(.max - 7)
        #expect(try machine.word(lock + 16, bytes: 4) & 0xC000_0000 == 0x8000_0000)
        #expect(try machine.value(.setRobustList, head, 23) == .error(.einval))
        #expect(try machine.value(.setRobustList, head, 24) == 0)
        #expect(try machine.value(.getRobustList, 0, word + 0x300, word + 0x308) == 0)
        #expect(try machine.word(word + 0x300) == head && machine.word(word + 0x308) == 24)
        #expect(try machine.value(.getRobustList, 999, word + 0x300, word + 0x308) == .error(.esrch))
    }

    @Test func `the scheduler tells programs what they want to hear`() throws {
        let machine = try Machine()
        try machine.put(1, 2, 0, at: word)
        let answers: [(SystemCall, [UInt64], Int64)] = [
            (.schedGetscheduler, [0], 0), (.schedGetparam, [0, word + 64], 0), (.schedGetPriorityMax, [1], 99),
            (.schedGetPriorityMin, [0], 0), (.schedGetPriorityMax, [77], .error(.einval)),
            (.schedSetaffinity, [0, 8, word], 0), (.schedSetaffinity, [0, 8, word + 8], .error(.einval)),
            (.schedSetaffinity, [5, 8, word], .error(.esrch)),
            (.schedSetscheduler, [0, 1, word + 16], .error(.einval)),
            (.schedSetscheduler, [0, 1, word], .error(.eperm)),
            (.schedSetscheduler, [0, 0, word + 16], 0), (.getpriority, [0, 0], 20), (.setpriority, [0, 0, 5], 0),
            (.getpriority, [0, 0], 15), (.setpriority, [0, 0, 4], .error(.eacces)), (.getcpu, [word + 64, 0], 0),
            (.getcpu, [Machine.nowhere, 0], .error(.efault)), (.membarrier, [0], 0x7F), (.membarrier, [8], 0),
            (.membarrier, [9], .error(.einval)), (.membarrier, [0, 1], .error(.einval)),
        ]
        for (call, arguments, expected) in answers {
            let all = arguments + [0, 0, 0]
            #expect(try machine.value(call, all[0], all[1], all[2]) == expected, "\(call) \(arguments)")
        }
    }
}
