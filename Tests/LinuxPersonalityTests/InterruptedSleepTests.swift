// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import LinuxPersonality

@Suite struct InterruptedSleepTests {
    private static let word = Machine.data.lowerBound
    private static let rest = Machine.data.lowerBound + 64
    private static let half: UInt64 = 500_000_000

    /// A handler for SIGALRM, and a timer that goes off in a millisecond.
    private func machine(_ flags: SignalAction.Flags) throws -> Machine {
        let machine = try Machine()
        try machine.handle(.alarm, at: Machine.code + 0x100, flags)
        // struct itimerval: interval and value.
        try machine.put(0, 0, 0, 1000, at: Self.word)
        #expect(try machine.value(.setitimer, 0, Self.word, 0) == 0)
        return machine
    }

    /// Lets the timer go off, and the handler run to its end.
    private func interrupt(_ machine: Machine) throws {
        #expect(try machine.sleep(1_000_000) == .run)
        #expect(machine.processor.registers.rip == Machine.code + 0x100)
        try machine.returnFromHandler()
    }

    @Test(arguments: [SignalAction.Flags(), .restart], [false, true])
    func `a handler ends a relative sleep, whose rest is told`(flags: SignalAction.Flags, byClock: Bool) throws {
        let machine = try machine(flags)
        try machine.put(0, Self.half, at: Self.word)
        try machine.put(7, 7, at: Self.rest)
        let end = machine.moment.monotonic + 1_000_000
        let course =
            byClock
            ? try machine.call(.clockNanosleep, 1, 0, Self.word, Self.rest)
            : try machine.call(.nanosleep, Self.word, Self.rest)
        #expect(course == .sleep(until: end))
        try interrupt(machine)
        #expect(machine.result == .error(.eintr))
        #expect(try machine.word(Self.rest) == 0)
        #expect(try machine.word(Self.rest + 8) == Self.half - 1_000_000)
    }

    @Test(arguments: [SignalAction.Flags(), .restart])
    func `a handler ends a sleep until an instant, and nothing is told`(flags: SignalAction.Flags) throws {
        let machine = try machine(flags)
        try machine.put(0, machine.moment.monotonic + Self.half, at: Self.word)
        try machine.put(7, 7, at: Self.rest)
        try machine.call(.clockNanosleep, 1, 1, Self.word, Self.rest)
        try interrupt(machine)
        #expect(machine.result == .error(.eintr))
        #expect(try machine.word(Self.rest) == 7 && machine.word(Self.rest + 8) == 7)
    }

    @Test func `a signal that is ignored does not end a sleep`() throws {
        let machine = try machine([])
        try machine.handle(.alarm, at: SignalAction.ignored)
        try machine.put(0, Self.half, at: Self.word)
        let end = machine.moment.monotonic + Self.half
        try machine.call(.nanosleep, Self.word, Self.rest)
        #expect(try machine.sleep(1_000_000) == .sleep(until: end))
        #expect(try machine.sleep(Self.half - 1_000_000) == .run)
        #expect(machine.result == 0)
    }

    /// As on any machine: who sets a timer may be interrupted before it sleeps.
    @Test func `a timer that has gone off before the sleep begins does not end it`() throws {
        let machine = try machine([])
        try machine.preempt(after: 1_000_000)
        #expect(machine.processor.registers.rip == Machine.code + 0x100)
        try machine.returnFromHandler()
        try machine.put(0, Self.half, at: Self.word)
        let end = machine.moment.monotonic + Self.half
        #expect(try machine.call(.nanosleep, Self.word, Self.rest) == .sleep(until: end))
        #expect(try machine.sleep(Self.half) == .run)
        #expect(machine.result == 0)
    }
}
