// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@Suite("The nouns")
struct NounTests {
    @Test("Every outcome has its stable name")
    func outcomeNames() {
        let outcomes: [(Outcome, String)] = [
            (.halted, "halted"), (.exited(code: 1), "exited"),
            (.faulted(Fault(vector: 13, errorCode: 0, address: nil, rip: 0)), "faulted"),
            (.tripleFault, "triple-fault"),
            (.unemulatable(Unemulatable(rip: nil, bytes: [])), "unemulatable"),
            (.cancelled(by: .client), "cancelled"), (.waitExpired(limit: 1), "wait-expired"),
            (.hostError(""), "host-error"),
        ]
        for (outcome, name) in outcomes { #expect(outcome.name == name) }
        let budgets = BudgetKind.allCases.map { Outcome.exhausted($0, limit: 1, used: 1).name }
        #expect(
            budgets == [
                "steps-exhausted", "cpu-time-exhausted", "wall-time-exhausted", "exits-exhausted", "output-exhausted",
                "memory-exhausted",
            ])
    }

    @Test("A mode is found by its name, and by no other", arguments: GuestMode.imageModes)
    func modeNames(mode: GuestMode) {
        #expect(GuestMode(name: mode.name) == mode)
        #expect(GuestMode(name: mode.name.uppercased()) == nil)
    }

    @Test("Each register name reaches its own register")
    func registers() {
        var registers = Registers()
        #expect(registers.rflags == 2)
        for name in RegisterName.allCases { registers[name] = UInt64(name.rawValue) + 100 }
        for name in RegisterName.allCases { #expect(registers[name] == UInt64(name.rawValue) + 100) }
        #expect(registers.r15 == 115)
        #expect(registers.rip == 116)
    }

    @Test("A segment's rights are packed as on the wire")
    func attributes() {
        let code = SegmentAttributes(type: 11, s: true, dpl: 3, l: true, g: true)
        #expect(code.rawValue == 0b1010_1111_1011)
        #expect(code.type == 11)
        #expect(code.dpl == 3)
        #expect(code.s && code.present && code.l && code.g)
        #expect(!code.db && !code.avl && !code.isUnusable)
        #expect(SegmentAttributes.unusable.isUnusable)
        #expect(!SegmentAttributes.unusable.present)
    }

    @Test("A port write's record reads back, and other lengths do not")
    func portWrites() {
        let write = PortWrite(port: 0x1234, size: 4, value: 0x89AB_CDEF)
        #expect(write.record == [0x12, 0x34, 4, 0, 0x89, 0xAB, 0xCD, 0xEF])
        #expect(PortWrite(record: write.record) == write)
        #expect(PortWrite(record: write.record.dropLast()) == nil)
        #expect(PortWrite(record: write.record + [0]) == nil)
    }

    @Test(
        "Durations are written as a number and a unit",
        arguments: [
            ("1ns", Duration.nanoseconds(1)), ("20us", .microseconds(20)), ("300ms", .milliseconds(300)),
            ("10s", .seconds(10)), ("2m", .seconds(120)), ("10min", .seconds(600)), ("1h", .seconds(3600)),
            ("0s", .zero),
        ])
    func durations(text: String, duration: Duration) { #expect(Duration(text: text) == duration) }

    @Test(
        "What is no duration is none",
        arguments: ["", "s", "10", "-1s", "1.5s", "10 s", "1d", "10S", "99999999999999999999s", "9999999999h"])
    func noDurations(text: String) { #expect(Duration(text: text) == nil) }

    @Test("Nanoseconds stay within 63 bits, whatever the duration")
    func nanoseconds() {
        #expect(Duration.seconds(-1).wholeNanoseconds == 0)
        #expect(Duration.milliseconds(1).wholeNanoseconds == 1_000_000)
        #expect(Duration.seconds(Int64.max).wholeNanoseconds == UInt64(Int64.max))
        #expect(Duration(wholeNanoseconds: .max) > .seconds(1))
    }
}
