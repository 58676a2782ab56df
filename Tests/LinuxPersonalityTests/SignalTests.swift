// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVM
import Testing

@testable import LinuxPersonality

@Suite struct SignalTests {
    private let word = Machine.data.lowerBound
    private let handler: UInt64 = Machine.code + 0x1000

    @Test func `a handler runs behind the call, and the program goes on where it was`() throws {
        let machine = try Machine()
        try machine.handle(.user1, at: handler, .information, mask: 1 << 14)
        machine.processor.registers.rbx = 0x1234
        machine.processor.registers.rflags = 0x202 | 0x400
        machine.processor.state[24] = 0x80
        let before = machine.processor.registers
        #expect(try machine.call(.kill, 1, 10) == .run)
        let inside = machine.processor.registers
        #expect(inside.rip == handler && inside.rdi == 10 && inside.rax == 0 && inside.rflags & 0x400 == 0)
        #expect(inside.rsp % 16 == 8 && inside.rsp < before.rsp - 128)
        #expect(machine.processor.state == HandProcessor.freshState)
        // si_signo, si_code, si_pid and si_uid; where the handler returns to; what was blocked.
        #expect(try machine.word(inside.rsi) == 10 && machine.word(inside.rsi + 8) == 0)
        #expect(try machine.word(inside.rsi + 16) == 1000 << 32 | 1)
        #expect(try machine.word(inside.rsp) == Machine.code + 0x500)
        #expect(machine.process.threads.running.mask == SignalSet(bits: 1 << 14 | 1 << 9))
        machine.processor.registers.rbx = 0
        #expect(try machine.returnFromHandler() == .run)
        var after = before
        (after.rax, after.rdi, after.rsi) = (0, 1, 10)
        after.rdx = 0
        (after.r10, after.r8, after.r9) = (0, 0, 0)
        #expect(machine.processor.registers == after)
        #expect(machine.processor.state[24] == 0x80 && machine.process.threads.running.mask.isEmpty)
    }

    @Test func `what comes of a signal that nothing handles`() throws {
        for number in 1...64 as ClosedRange<Int32> {
            let machine = try Machine()
            let course = try machine.call(.kill, 1, UInt64(number))
            switch number {
            case 17, 18, 20, 21, 22, 23, 28: #expect(course == .run && machine.result == 0, "\(number)")
            case 19:
                #expect(course == .sleep(until: nil))
                #expect(try machine.sleep(1 << 50) == .sleep(until: nil))
            default: #expect(course == .over(.killed(signal: UInt8(number), fault: nil)), "\(number)")
            }
        }
    }

    @Test func `signals go to the process itself and its threads only`() throws {
        let machine = try Machine()
        try machine.makeThread()
        let answers: [(SystemCall, [UInt64], Int64)] = [
            (.kill, [1, 0], 0), (.kill, [0, 23], 0), (.kill, [.max, 23], .error(.esrch)),
            (.kill, [2, 23], .error(.esrch)),
            (.kill, [1, 65], .error(.einval)), (.kill, [1, .max], .error(.einval)), (.tkill, [2, 23], 0),
            (.tkill, [3, 23], .error(.esrch)), (.tkill, [0, 23], .error(.einval)), (.tgkill, [1, 2, 0], 0),
            (.tgkill, [2, 2, 0], .error(.esrch)), (.tgkill, [1, 2, 99], .error(.einval)),
            (.tgkill, [0, 2, 0], .error(.einval)), (.rtSigqueueinfo, [2, 23, word], .error(.esrch)),
            (.rtSigqueueinfo, [1, 23, Machine.nowhere], .error(.efault)), (.rtSigqueueinfo, [1, 23, word], 0),
        ]
        for (call, arguments, expected) in answers {
            let all = arguments + [0]
            #expect(try machine.value(call, all[0], all[1], all[2]) == expected, "\(call) \(arguments)")
        }
    }

    @Test func `actions are kept as the kernel keeps them`() throws {
        let machine = try Machine()
        let (new, old) = (word, word + 0x100)
        try machine.put(handler, .max, 0x55, .max, at: new)
        #expect(try machine.value(.rtSigaction, 10, new, 0, 8) == 0)
        #expect(try machine.value(.rtSigaction, 10, 0, old, 8) == 0)
        let kept = try (0..<4).map { try machine.word(old + $0 * 8) }
        #expect(kept == [handler, 0xDC00_0807, 0x55, ~(1 << 8 | 1 << 18)])
        let refused: [([UInt64], Errno)] = [
            ([9, new, 0, 8], .einval), ([19, new, 0, 8], .einval), ([0, new, 0, 8], .einval),
            ([65, 0, old, 8], .einval),
            ([10, new, 0, 16], .einval), ([10, Machine.nowhere, 0, 8], .efault),
            ([10, 0, Machine.nowhere, 8], .efault),
        ]
        for (arguments, error) in refused {
            #expect(
                try machine.value(.rtSigaction, arguments[0], arguments[1], arguments[2], arguments[3]) == .error(error)
            )
        }
        #expect(try machine.value(.rtSigaction, 9, 0, old, 8) == 0)
        #expect(try machine.word(old) == 0)
    }

    @Test func `blocked signals wait, and go when they are ignored`() throws {
        let machine = try Machine()
        try machine.handle(.user1, at: handler)
        try machine.put(.max, at: word)
        #expect(try machine.value(.rtSigprocmask, 0, word, word + 8, 8) == 0)
        #expect(machine.process.threads.running.mask == SignalSet(bits: .max).subtracting(.unblockable))
        #expect(try machine.value(.kill, 1, 10) == 0)
        #expect(try machine.value(.kill, 1, 10) == 0)
        #expect(try machine.value(.tkill, 1, 12) == 0)
        #expect(try machine.value(.rtSigpending, word + 8, 8) == 0)
        #expect(try machine.word(word + 8) == 1 << 9 | 1 << 11)
        #expect(try machine.value(.rtSigprocmask, 7, word, 0, 8) == .error(.einval))
        try machine.put(1, 0, 0, 0, at: word + 0x100)
        #expect(try machine.value(.rtSigaction, 12, word + 0x100, 0, 8) == 0)
        #expect(try machine.value(.rtSigpending, word + 8, 8) == 0)
        #expect(try machine.word(word + 8) == 1 << 9)
        // Sent twice, it comes once.
        try machine.call(.rtSigprocmask, 1, word, 0, 8)
        #expect(machine.processor.registers.rip == handler)
        try machine.returnFromHandler()
        #expect(machine.processor.registers.rip == Machine.code)
    }

    @Test func `real-time signals queue, in order, up to the limit`() throws {
        let machine = try Machine()
        let signal = try #require(Signal(40))
        try machine.handle(signal, at: handler, [.information, .noDefer])
        try machine.put(1 << 39, at: word)
        #expect(try machine.value(.rtSigprocmask, 0, word, 0, 8) == 0)
        for number in 0..<UInt64(PendingSignals.limit) {
            try machine.put(40, UInt64(UInt32(bitPattern: -1)), 0, number, at: word + 0x100)
            #expect(try machine.value(.rtSigqueueinfo, 1, 40, word + 0x100) == 0)
        }
        #expect(try machine.value(.rtSigqueueinfo, 1, 40, word + 0x100) == .error(.eagain))
        // The other ones come without particulars.
        #expect(try machine.value(.kill, 1, 40) == 0)
        #expect(machine.process.signals.pending.queued == PendingSignals.limit)
        for number in 0..<3 as Range<UInt64> {
            #expect(try machine.value(.rtSigtimedwait, word, word + 0x200, 0, 8) == 40)
            #expect(try machine.word(word + 0x200 + 24) == number)
        }
    }

    @Test func `a handler is forgotten, or let in again, as its flags say`() throws {
        let machine = try Machine()
        try machine.handle(.user1, at: handler, [.resetHandler, .noDefer])
        try machine.call(.kill, 1, 10)
        #expect(machine.processor.registers.rip == handler && machine.process.threads.running.mask.isEmpty)
        #expect(try machine.call(.kill, 1, 10) == .over(.killed(signal: 10, fault: nil)))
    }

    @Test func `several signals have their frames one on the other`() throws {
        let machine = try Machine()
        for signal in [Signal.user1, .user2] { try machine.handle(signal, at: handler + UInt64(signal.number)) }
        try machine.put(1 << 9 | 1 << 11, at: word)
        _ = try machine.value(.rtSigprocmask, 0, word, 0, 8)
        _ = try machine.value(.kill, 1, 12)
        _ = try machine.value(.kill, 1, 10)
        try machine.call(.rtSigprocmask, 1, word, 0, 8)
        // Signal 10 went first, so that 12 interrupts its handler's first instruction.
        #expect(machine.processor.registers.rip == handler + 12)
        try machine.returnFromHandler()
        #expect(machine.processor.registers.rip == handler + 10)
        try machine.returnFromHandler()
        #expect(machine.processor.registers.rip == Machine.code && machine.result == 0)
    }

    // MARK: Calls that wait

    @Test(arguments: [true, false])
    func `a call that waits begins again behind a handler, or ends`(restarts: Bool) throws {
        let machine = try Machine()
        try machine.makeThread()
        try machine.handle(.user1, at: handler, restarts ? .restart : [])
        try machine.call(.read, 0, word, 8)
        #expect(machine.thread == 2)
        #expect(try machine.value(.tgkill, 1, 1, 10) == 0)
        try machine.preempt()
        #expect(machine.thread == 1 && machine.processor.registers.rip == handler)
        try machine.returnFromHandler()
        let registers = machine.processor.registers
        if restarts {
            #expect(
                registers.rip == Machine.code - 2 && registers.rax == SystemCall.read.rawValue && registers.rdx == 8)
        } else {
            #expect(registers.rip == Machine.code && machine.result == .error(.eintr))
        }
    }

    @Test func `a sleep never begins again, and says what was left`() throws {
        let machine = try Machine()
        try machine.makeThread()
        try machine.handle(.user1, at: handler, .restart)
        try machine.put(3, 500, at: word)
        try machine.call(.nanosleep, word, word + 0x20)
        machine.moment.monotonic += 1_000_000_000
        _ = try machine.value(.tgkill, 1, 1, 10)
        try machine.preempt()
        #expect(machine.processor.registers.rip == handler)
        #expect(try machine.word(word + 0x20) == 2 && machine.word(word + 0x28) == 500)
        try machine.returnFromHandler()
        #expect(machine.result == .error(.eintr))
    }

    @Test func `a signal that is ignored disturbs nobody`() throws {
        let machine = try Machine()
        try machine.makeThread()
        try machine.call(.pause)
        _ = try machine.value(.kill, 1, 17)
        _ = try machine.value(.kill, 1, 28)
        #expect(!machine.process.wantsTimeSlices)
        // One that is blocked is kept, and dropped when it would come.
        try machine.put(1 << 16, at: word)
        _ = try machine.value(.rtSigprocmask, 0, word, 0, 8)
        _ = try machine.value(.tgkill, 1, 2, 17)
        try machine.put(0, at: word)
        #expect(try machine.call(.rtSigsuspend, word, 8) == .sleep(until: nil))
    }

    @Test func `sigsuspend lets a blocked signal in, and blocks it again`() throws {
        let machine = try Machine()
        try machine.handle(.user1, at: handler)
        try machine.put(1 << 9, 1 << 11, at: word)
        _ = try machine.value(.rtSigprocmask, 2, word, 0, 8)
        _ = try machine.value(.kill, 1, 10)
        #expect(try machine.call(.rtSigsuspend, word + 8, 8) == .run)
        #expect(machine.processor.registers.rip == handler)
        #expect(machine.process.threads.running.mask.bits == 1 << 9 | 1 << 11)
        try machine.returnFromHandler()
        #expect(machine.result == .error(.eintr) && machine.process.threads.running.mask.bits == 1 << 9)
        #expect(try machine.value(.rtSigsuspend, Machine.nowhere, 8) == .error(.efault))
        #expect(try machine.value(.rtSigsuspend, word, 16) == .error(.einval))
    }

    @Test func `ppoll and its kin block for as long as they wait`() throws {
        let machine = try Machine()
        try machine.handle(.user1, at: handler)
        try machine.put(1 << 9, 0, word + 8, 8, at: word)
        _ = try machine.value(.rtSigprocmask, 2, word, 0, 8)
        #expect(try machine.value(.epollCreate1, 0) == 3)
        _ = try machine.value(.kill, 1, 10)
        let calls: [(SystemCall, [UInt64])] = [
            (.ppoll, [0, 0, 0, word + 8, 8, 0]), (.pselect6, [0, 0, 0, 0, 0, word + 16]),
            (.epollPwait, [3, word + 0x40, 4, .max, word + 8, 8]),
        ]
        for (call, arguments) in calls {
            try machine.call(
                call, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
            #expect(machine.processor.registers.rip == handler, "\(call)")
            try machine.returnFromHandler()
            #expect(machine.result == .error(.eintr) && machine.process.threads.running.mask.bits == 1 << 9)
            _ = try machine.value(.kill, 1, 10)
        }
        // One that need not wait takes no signal.
        try machine.put(0, 0, at: word + 0x60)
        #expect(try machine.value(.ppoll, 0, 0, word + 0x60, word + 8, 8) == 0)
        #expect(machine.process.threads.running.mask.bits == 1 << 9)
        #expect(try machine.value(.ppoll, 0, 0, word + 0x60, word + 8, 4) == .error(.einval))
        #expect(try machine.value(.ppoll, 0, 0, word + 0x60, Machine.nowhere, 8) == .error(.efault))
    }

    @Test func `sigtimedwait takes what it waits for, blocked or not`() throws {
        let machine = try Machine()
        try machine.put(1 << 9, 1 << 9 | 1 << 11, at: word)
        _ = try machine.value(.rtSigprocmask, 2, word, 0, 8)
        try machine.makeThread()
        try machine.handle(.user2, at: handler)
        try machine.call(.rtSigtimedwait, word + 8, word + 0x40, 0, 8)
        #expect(machine.thread == 2)
        _ = try machine.value(.kill, 1, 10)
        try machine.preempt()
        #expect(machine.thread == 1 && machine.result == 10)
        #expect(try machine.word(word + 0x40) == 10)
        // An unblocked one too; no handler runs.
        try machine.turn(to: 1)
        try machine.call(.rtSigtimedwait, word + 8, 0, 0, 8)
        _ = try machine.value(.tgkill, 1, 1, 12)
        try machine.preempt()
        #expect(machine.result == 12 && machine.processor.registers.rip == Machine.code)
        // Another one's handler ends it; so does time.
        try machine.handle(.hangUp, at: handler)
        try machine.put(0, 100, at: word + 0x80)
        try machine.call(.rtSigtimedwait, word + 8, 0, 0, 8)
        _ = try machine.value(.tgkill, 1, 1, 1)
        try machine.preempt()
        #expect(machine.processor.registers.rip == handler)
        try machine.returnFromHandler()
        #expect(machine.result == .error(.eintr))
        try machine.call(.rtSigtimedwait, word + 8, 0, word + 0x80, 8)
        #expect(machine.thread == 2)
        try machine.preempt(after: 100)
        #expect(machine.thread == 1 && machine.result == .error(.eagain))
    }

    @Test func `a signal to the process goes to a thread that does not block it`() throws {
        let machine = try Machine()
        try machine.handle(.user1, at: handler)
        try machine.makeThread()
        try machine.makeThread()
        try machine.put(1 << 9, at: word)
        _ = try machine.value(.rtSigprocmask, 2, word, 0, 8)
        try machine.turn(to: 2)
        _ = try machine.value(.rtSigprocmask, 2, word, 0, 8)
        try machine.turn(to: 3)
        try machine.call(.pause)
        #expect(machine.thread == 1)
        _ = try machine.value(.kill, 1, 10)
        try machine.turn(to: 3)
        #expect(machine.processor.registers.rip == handler)
        try machine.returnFromHandler()
        #expect(machine.result == .error(.eintr))
        // SIGKILL is for all, whomever it is sent to.
        #expect(try machine.call(.tgkill, 1, 2, 9) == .over(.killed(signal: 9, fault: nil)))
    }

    @Test func `who writes where nobody reads gets SIGPIPE`() throws {
        let machine = try Machine()
        _ = try machine.value(.pipe2, word)
        _ = try machine.value(.close, 3)
        try machine.handle(.pipe, at: handler)
        try machine.call(.write, 4, word, 4)
        #expect(machine.processor.registers.rip == handler)
        try machine.returnFromHandler()
        #expect(machine.result == .error(.epipe))
        try machine.put(0, 0, 0, 0, at: word)
        _ = try machine.value(.rtSigaction, 13, word, 0, 8)
        #expect(try machine.call(.write, 4, word, 4) == .over(.killed(signal: 13, fault: nil)))
    }

    // MARK: Timers

    @Test func `an alarm interrupts who runs and who waits`() throws {
        let machine = try Machine()
        try machine.handle(.alarm, at: handler)
        #expect(try machine.value(.alarm, 2) == 0)
        #expect(machine.process.nextTimer == 2_000_001_000)
        #expect(try machine.preempt(after: 1_900_000_000) == .run)
        #expect(try machine.value(.alarm, 5) == 1)
        #expect(try machine.call(.pause) == .sleep(until: 6_900_001_000))
        #expect(try machine.sleep(5_000_000_000) == .run)
        #expect(machine.processor.registers.rip == handler)
        try machine.returnFromHandler()
        #expect(machine.result == .error(.eintr) && machine.process.nextTimer == nil)
        try machine.put(1, 0, 0, 500_000, at: word)
        #expect(try machine.value(.setitimer, 0, word, word + 0x40) == 0)
        #expect(try machine.word(word + 0x50) == 0 && machine.word(word + 0x58) == 0)
        #expect(try machine.preempt(after: 3_600_000_000) == .run)
        #expect(machine.processor.registers.rip == handler)
        #expect(try machine.value(.getitimer, 0, word + 0x40) == 0)
        // The fourth is due after 3.5 s, the next one after 4.5 s.
        #expect(try machine.word(word + 0x40) == 1 && machine.word(word + 0x58) == 900_000)
        #expect(try machine.value(.setitimer, 1, word, 0) == .error(.einval))
        try machine.put(0, 0, 0, 1_000_000, at: word)
        #expect(try machine.value(.setitimer, 0, word, 0) == .error(.einval))
    }

    @Test func `a timer of the program's own tells which it is and how often it came`() throws {
        let machine = try Machine()
        try machine.makeThread()
        let signal = try #require(Signal(34))
        try machine.handle(signal, at: handler, .information)
        // sigev_value, SIGRTMIN, SIGEV_THREAD_ID, thread 2
        try machine.put(0xABCD, 4 << 32 | 34, 2, at: word)
        #expect(try machine.value(.timerCreate, 1, word, word + 0x80) == 0)
        #expect(try machine.word(word + 0x80, bytes: 4) == 0)
        try machine.put(0, 1_000_000, 0, 2_000_000, at: word + 0x100)
        #expect(try machine.value(.timerSettime, 0, 0, word + 0x100, 0) == 0)
        try machine.preempt(after: 4_500_000)
        #expect(machine.thread == 2 && machine.processor.registers.rip == handler)
        let information = machine.processor.registers.rsi
        #expect(try machine.word(information + 8, bytes: 4) == 0xFFFF_FFFE)
        #expect(try machine.word(information + 16) == 2 << 32 && machine.word(information + 24) == 0xABCD)
        #expect(try machine.value(.timerGetoverrun, 0) == 2)
        #expect(try machine.value(.timerGettime, 0, word + 0x140) == 0)
        #expect(try machine.word(word + 0x158) == 500_000)
        #expect(try machine.value(.timerDelete, 0) == 0)
        #expect(machine.process.nextTimer == nil)
        for call in [SystemCall.timerDelete, .timerGettime, .timerGetoverrun] {
            #expect(try machine.value(call, 0, word) == .error(.einval))
        }
        for number in 0..<Timers.limit {
            #expect(try machine.value(.timerCreate, 1, 0, word + 0x80) == 0)
            #expect(try machine.word(word + 0x80, bytes: 4) == UInt64(number))
        }
        #expect(try machine.value(.timerCreate, 1, 0, word + 0x80) == .error(.eagain))
    }

    @Test func `the fastest timer leaves the program time to run`() throws {
        let machine = try Machine()
        try machine.put(1, 0, at: word)
        _ = try machine.value(.rtSigaction, 14, word, 0, 8)
        try machine.put(0, 1, 0, 1, at: word)
        #expect(try machine.value(.setitimer, 0, word, 0) == 0)
        try machine.preempt(after: 10_000_000)
        let next = try #require(machine.process.nextTimer)
        #expect(next >= machine.moment.monotonic + IntervalTimer.finestInterval)
    }
}
