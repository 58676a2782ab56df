// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

/// A vector with registers told apart by their numbers, its code at 1000:0100.
private func vector(
    _ bytes: [UInt8], _ registers: [TestVector.Register: UInt16] = [:], memory: [UInt32: UInt8] = [:],
    changed: [TestVector.Register: UInt16] = [:], changedMemory: [UInt32: UInt8] = [:]
) -> TestVector {
    var initial: [TestVector.Register: UInt16] = [
        .ax: 0x11, .bx: 0x22, .cx: 0x33, .dx: 0x44, .cs: 0x1000, .ds: 0x2000, .es: 0x3000, .ss: 0x4000, .sp: 0x800,
        .bp: 0x55, .si: 0x66, .di: 0x77, .ip: 0x100, .flags: 0xF002,
    ]
    initial.merge(registers) { $1 }
    var ram = memory
    for (index, byte) in bytes.enumerated() { ram[0x1_0100 + UInt32(index)] = byte }
    var final = changed
    if final[.ip] == nil { final[.ip] = 0x100 + UInt16(bytes.count) }
    return TestVector(
        name: "test", bytes: bytes, index: 7, initialRegisters: initial, initialMemory: ram, changedRegisters: final,
        changedMemory: changedMemory)
}

/// What a processor showed that did as the vector says, but for what is given.
private func seen(
    _ vector: TestVector, _ registers: [TestVector.Register: UInt64] = [:], memory: [UInt32: UInt8] = [:],
    outcome: Outcome = .exhausted(.steps, limit: 1, used: 1)
) -> Observation {
    func value(_ register: TestVector.Register) -> UInt64 {
        registers[register] ?? UInt64(register == .flags ? vector.expected(.flags) & 0xFD7 : vector.expected(register))
    }
    var general = Registers()
    (general.rax, general.rbx, general.rcx, general.rdx) = (value(.ax), value(.bx), value(.cx), value(.dx))
    (general.rsi, general.rdi, general.rbp, general.rsp) = (value(.si), value(.di), value(.bp), value(.sp))
    (general.rip, general.rflags) = (value(.ip), value(.flags))
    var system = SystemRegisters()
    (system.cs.selector, system.ds.selector) = (UInt16(value(.cs)), UInt16(value(.ds)))
    (system.es.selector, system.ss.selector) = (UInt16(value(.es)), UInt16(value(.ss)))
    var result = JobResult(outcome: outcome)
    (result.registers, result.system) = (general, system)
    let bytes = vector.expectedMemory.merging(memory) { $1 }
    return Observation(result, memory: bytes.map { MemoryRecord(address: UInt64($0.key), bytes: [$0.value]) })
}

private func decode(_ text: String) throws -> [TestVector] {
    try JSONDecoder().decode([TestVector].self, from: Data(text.utf8))
}

@Suite struct TestVectorTests {
    private let registers = TestVector.Register.allCases.map { "\"\($0.rawValue)\": 1" }.joined(separator: ",")

    @Test func `a vector is read as the format has it, and what is about the bus is passed over`() throws {
        let vectors = try decode(
            """
            [{"name": "nop", "bytes": [144], "initial": {"regs": {\(registers)}, "ram": [[17, 144], [1048575, 5]], "queue": []},
              "final": {"regs": {"ip": 2, "ax": -1}, "ram": [[17, 145]], "queue": [144]},
              "cycles": [[0, 1, "CS", "R--", "---", 0, 0, "CODE", "T2", "F", 0]], "hash": "00", "idx": 3}]
            """)
        let vector = try #require(vectors.first)
        #expect(vector.name == "nop" && vector.bytes == [0x90] && vector.index == 3)
        #expect(vector.initial(.flags) == 1 && vector.initialMemory == [17: 144, 0xF_FFFF: 5])
        #expect(vector.expected(.ip) == 2 && vector.expected(.ax) == 0xFFFF && vector.expected(.bx) == 1)
        #expect(vector.expectedMemory == [17: 145, 0xF_FFFF: 5])
    }

    @Test(arguments: [
        #"[{"name": "a", "bytes": [], "initial": {"regs": {REGS}, "ram": [[1, 2]]}, "final": {}}]"#,
        #"[{"name": "a", "bytes": [144], "initial": {"regs": {REGS}, "ram": []}, "final": {}}]"#,
        #"[{"name": "a", "bytes": [256], "initial": {"regs": {REGS}, "ram": [[1, 2]]}, "final": {}}]"#,
        #"[{"name": "a", "bytes": [144], "initial": {"regs": {REGS}, "ram": [[1048576, 2]]}, "final": {}}]"#,
        #"[{"name": "a", "bytes": [144], "initial": {"regs": {REGS}, "ram": [[1, 2, 3]]}, "final": {}}]"#,
        #"[{"name": "a", "bytes": [144], "initial": {"regs": {REGS}, "ram": [[1, 2]]}, "final": {"regs": {"ax": 65536}}}]"#,
        #"[{"name": "a", "bytes": [144], "initial": {"regs": {"ax": 1}, "ram": [[1, 2]]}, "final": {}}]"#,
        #"[{"name": "a", "bytes": [144], "initial": {"regs": {REGS}, "ram": [[1, 2]]}}]"#,
    ])
    func `what is no vector is refused`(text: String) {
        #expect(throws: DecodingError.self) { try decode(text.replacingOccurrences(of: "REGS", with: registers)) }
    }

    @Test func `prefixes, opcode and the member of a group are told apart`() {
        #expect(InstructionForm([0x26, 0xF3, 0xA4]).form == OpcodeForm(opcode: 0xA4))
        #expect(InstructionForm([0x26, 0xF3, 0xA4]).isRepeated)
        #expect(InstructionForm([0x2E, 0xF6, 0x30]).form == OpcodeForm(opcode: 0xF6, member: 6))
        #expect(InstructionForm([0x00, 0xF0]).form == OpcodeForm(opcode: 0))
        #expect(InstructionForm([0xF3]).form == OpcodeForm(opcode: 0xF3), "an opcode, for want of another")
        #expect(OpcodeForm(opcode: 0x0F).text == "0f" && OpcodeForm(opcode: 0xD0, member: 4).text == "d0.4")
    }

    @Test func `metadata tells the defined flags, by member where there are members`() throws {
        let json =
            #"{"opcodes": {"27": {"status": "normal", "flags-mask": 63487}, "80": {"reg": {"1": {"flags-mask": 65519}}}}}"#
        for text in [json, String(json.dropFirst(12).dropLast())] {
            let metadata = try OpcodeMetadata(json: Data(text.utf8))
            #expect(metadata.definedFlags(of: OpcodeForm(opcode: 0x27)) == 63487)
            #expect(metadata.definedFlags(of: OpcodeForm(opcode: 0x80, member: 1)) == 65519)
            #expect(metadata.definedFlags(of: OpcodeForm(opcode: 0x80, member: 2)) == .max)
            #expect(metadata.definedFlags(of: OpcodeForm(opcode: 0x90)) == .max)
        }
    }
}

@Suite struct VectorJobTests {
    @Test func `a vector is a job of one step in its own state`() throws {
        let job = try VectorJob(vector([0x90], [.flags: 0xFFFF, .cs: 0xFFFF], memory: [0x500: 1, 0x501: 2]))
        #expect(job.spec.mode == .real16 && job.spec.budget.steps == 1 && job.spec.entryPoint == 0x100)
        #expect(job.spec.registers[.rax] == 0x11 && job.spec.registers[.rsp] == 0x800)
        #expect(job.spec.registers[.rflags] == 0x0FD5, "of the flags those that are not fixed")
        let code = Segment(base: 0xF_FFF0, limit: 0xFFFF, selector: 0xFFFF, attributes: .init(type: 11, s: true))
        #expect(job.spec.segments[.cs] == code && job.spec.segments[.ds]?.base == 0x2_0000)
        #expect(job.spec.pieces.contains(MemoryRange(address: 0x500, count: 2)))
        #expect(job.spec.pieces.map(\.count).reduce(0, +) == UInt64(job.image.count))
        #expect(job.spec.dumps == [.init(address: 0x500, count: 2), .init(address: 0x1_0100, count: 1)])
    }

    @Test func `exceptions that an 8088 does not know are caught, unless the vector has the handler`() throws {
        let memory = ExceptionTrap.add(to: vector([0x90]))
        #expect(
            memory[13 * 4] == 0x1D && memory[13 * 4 + 1] == 1 && memory[13 * 4 + 2] == 0xFF
                && memory[13 * 4 + 3] == 0xFF)
        #expect(memory[0xF_FFF0 + 0x11D] == 0xF4)
        #expect(ExceptionTrap.exception(cs: 0xFFFF, ip: 0x11E) == 13)
        #expect(ExceptionTrap.exception(cs: 0xFFFF, ip: 0x113) == nil)
        #expect(ExceptionTrap.exception(cs: 0xFFF0, ip: 0x11E) == nil)
        let own = vector([0xF6, 0xF3], memory: [3: 9])
        #expect(ExceptionTrap.add(to: own)[0] == nil && ExceptionTrap.add(to: own)[3] == 9)
        #expect(ExceptionTrap.add(to: vector([0x90], changedMemory: [25: 1]))[24] == nil)
    }

    @Test func `places close together are one`() {
        #expect(VectorJob.ranges([3, 1, 2, 9], gap: 0) == [.init(address: 1, count: 3), .init(address: 9, count: 1)])
        #expect(VectorJob.ranges([3, 1, 2, 9], gap: 5) == [.init(address: 1, count: 9)])
        #expect(VectorJob.ranges([], gap: 5).isEmpty)
    }

    @Test func `a vector that is all over the place is no job`() {
        let spread = Dictionary(uniqueKeysWithValues: (0..<100).map { (UInt32($0) << 13, UInt8(0)) })
        #expect(throws: ValueError.self) { try VectorJob(vector([0x90], memory: spread)) }
    }
}

@Suite struct ComparisonTests {
    @Test func `what agrees passes, whatever the fixed and the undefined flags`() {
        let add = vector([0x00, 0xC8], changed: [.ax: 0x44, .flags: 0xF012])
        #expect(Comparison(add, seen(add)).differences.isEmpty)
        #expect(Comparison(add, seen(add, [.flags: 0x7012])).differences.isEmpty)
        #expect(Comparison(add, seen(add, [.flags: 2]), definedFlags: ~0x10).differences.isEmpty)
        #expect(Comparison(add, seen(add, [.flags: 2])).differences == [.flags(expected: 0x10, seen: 0)])
    }

    @Test func `every register and every byte that the vector speaks of is compared`() {
        let store = vector([0x88, 0x04], memory: [0x2_0066: 1, 0x600: 5], changedMemory: [0x2_0066: 0x11])
        for register in TestVector.Register.allCases where register != .flags {
            let wrong = UInt64(store.expected(register) ^ 1)
            let differences = Comparison(store, seen(store, [register: wrong])).differences
            #expect(differences == [.register(register, expected: store.expected(register), seen: wrong)])
        }
        let wide = Comparison(store, seen(store, [.ax: 0x1_0011])).differences
        #expect(wide == [.register(.ax, expected: 0x11, seen: 0x1_0011)], "upper halves are zero")
        for address in store.expectedMemory.keys {
            #expect(Comparison(store, seen(store, memory: [address: 0xEE])).differences.count == 1)
        }
    }

    @Test func `another end than one step is a difference, but for HLT`() {
        let nop = vector([0x90])
        let ends: [(Outcome, String)] = [
            (.halted, "halted"), (.exited(code: 0), "exited"), (.tripleFault, "triple-fault"),
            (.hostError("why"), "why"),
            (.exhausted(.steps, limit: 1, used: 2), "steps-exhausted"),
        ]
        for (outcome, text) in ends {
            #expect(Comparison(nop, seen(nop, outcome: outcome)).differences.first == .outcome(text))
        }
        let trapped = seen(nop, [.cs: 0xFFFF, .ip: 0x117], outcome: .halted)
        #expect(Comparison(nop, trapped).differences.first == .outcome("#UD invalid opcode"))
        let halt = vector([0xF4])
        #expect(Comparison(halt, seen(halt, outcome: .halted)).differences.isEmpty)
        #expect(Comparison(nop, Observation(JobResult(outcome: .tripleFault), memory: [])).differences.count == 1)
    }
}

@Suite struct KnownDifferenceTests {
    private static let oneStep = Outcome.exhausted(.steps, limit: 1, used: 1)
    private static let divideError: [UInt32: UInt8] = [0: 0, 1: 4, 2: 0, 3: 0, 0x400: 0x90]
    private static let atHandler: [TestVector.Register: UInt16] = [.cs: 0, .ip: 0x400, .sp: 0x7FA]

    private static func trapped(_ vector: TestVector, _ number: UInt64) -> Observation {
        seen(vector, [.cs: 0xFFFF, .ip: 0x111 + number], outcome: .halted)
    }

    /// Where each reason is why, and where something near it is not.
    private typealias Example = (
        reason: String, vector: TestVector, seen: @Sendable (TestVector) -> Observation, applies: Bool
    )
    private static let cases: [Example] =
        [
            ("unemulatable", vector([0x27]), { seen($0, outcome: .unemulatable(.init(rip: 0, bytes: [0x27]))) }, true),
            ("int-80", vector([0xCD, 0x80]), { seen($0, outcome: .exhausted(.wallTime, limit: 1, used: 1)) }, true),
            (
                "int-80", vector([0xCD, 0x80], changed: [.cs: 0, .ip: 0x400, .sp: 0x7FA]),
                { seen($0, [.cs: 0x1000, .ip: 0x102, .sp: 0x800]) }, true
            ),
            (
                "int-80", vector([0xCD, 0x80], changed: [.cs: 0, .ip: 0x400, .sp: 0x7FA]),
                { seen($0, [.ip: 0x401]) }, false
            ),
            ("int-80", vector([0xCD, 0x81]), { seen($0, outcome: .exhausted(.wallTime, limit: 1, used: 1)) }, false),
            ("pop-cs", vector([0x0F], changed: [.cs: 0, .ip: 0x101]), { seen($0, [.cs: 0x1000]) }, true),
            ("jump-alias", vector([0x60, 0x10]), { seen($0, [.sp: 0x7F0]) }, true),
            ("jump-alias", vector([0x70, 0x10]), { seen($0, [.sp: 0x7F0]) }, false),
            ("return-alias", vector([0xC9]), { seen($0, [.sp: 0x7F0]) }, true),
            ("lock-alias", vector([0xF1]), { trapped($0, 1) }, true),
            ("undefined-form", vector([0xFF, 0xF8]), { trapped($0, 6) }, true),
            ("undefined-form", vector([0xFF, 0xF0]), { trapped($0, 6) }, false),
            ("undefined-form", vector([0x8E, 0xC8]), { trapped($0, 6) }, true),
            ("undefined-form", vector([0x8E, 0xC0]), { trapped($0, 6) }, false),
            ("lock-prefix", vector([0xF0, 0x90]), { trapped($0, 6) }, true),
            ("lock-prefix", vector([0xF0, 0x90]), { trapped($0, 7) }, false),
            ("escape", vector([0xD9, 0x14], memory: [0x2_0066: 1]), { seen($0, memory: [0x2_0066: 0]) }, true),
            (
                "push-sp", vector([0x54], changed: [.sp: 0x7FE], changedMemory: [0x4_07FE: 0xFE, 0x4_07FF: 7]),
                { seen($0, memory: [0x4_07FE: 0, 0x4_07FF: 8]) }, true
            ),
            (
                "push-sp", vector([0x54], changed: [.sp: 0x7FE], changedMemory: [0x4_07FE: 0xFE, 0x4_07FF: 7]),
                { seen($0, memory: [0x4_07FE: 2, 0x4_07FF: 8]) }, false
            ),
            (
                "pushed-flags", vector([0x9C], changed: [.sp: 0x7FE], changedMemory: [0x4_07FE: 2, 0x4_07FF: 0xF0]),
                { seen($0, memory: [0x4_07FF: 0]) }, true
            ),
            (
                "pushed-flags", vector([0x9C], changed: [.sp: 0x7FE], changedMemory: [0x4_07FE: 2, 0x4_07FF: 0xF0]),
                { seen($0, memory: [0x4_07FF: 1]) }, false
            ),
            ("trap-flag", vector([0x9D], changed: [.flags: 0xF102]), { seen($0, [.flags: 2]) }, true),
            ("trap-flag", vector([0x9D], changed: [.flags: 0xF142]), { seen($0, [.flags: 2]) }, false),
            ("shift-count", vector([0xD2, 0xE0], [.cx: 33]), { seen($0, [.ax: 5]) }, true),
            ("shift-count", vector([0xD2, 0xE0], [.cx: 31]), { seen($0, [.ax: 5]) }, false),
            ("rep-sign", vector([0xF3, 0xF6, 0xFB]), { seen($0, [.ax: 5]) }, true),
            ("rep-sign", vector([0xF3, 0xF6, 0xF3]), { seen($0, [.ax: 5]) }, false),
            (
                "divide-error", vector([0xF6, 0xF3], memory: divideError, changed: atHandler),
                { seen($0, [.ip: 0x401], memory: [0x4_07FA: 0]) }, true
            ),
            (
                "divide-error", vector([0xF6, 0xF3], memory: divideError, changed: atHandler),
                { seen($0, [.ip: 0x402]) }, false
            ),
            ("decimal-adjust", vector([0x27], [.ax: 0x9B, .flags: 0xF012]), { seen($0, [.ax: 1]) }, true),
            ("decimal-adjust", vector([0x27], [.ax: 0x9B, .flags: 0xF002]), { seen($0, [.ax: 1]) }, false),
            ("decimal-adjust", vector([0x2F], [.ax: 5, .flags: 0xF012]), { seen($0, [.flags: 0x13]) }, true),
            ("decimal-adjust", vector([0x27], [.ax: 5, .flags: 0xF012]), { seen($0, [.flags: 0x13]) }, false),
            ("ascii-adjust", vector([0x37], [.ax: 0xFC], changed: [.ax: 0x102]), { seen($0, [.ax: 0x202]) }, true),
            ("ascii-adjust", vector([0x37], [.ax: 0x0C], changed: [.ax: 0x102]), { seen($0, [.ax: 0x202]) }, false),
            (
                "adjust-flags", vector([0xD4, 10], changed: [.ax: 0x100, .flags: 0xF046]), { seen($0, [.flags: 6]) },
                true
            ),
            (
                "adjust-flags", vector([0xD4, 10], changed: [.ax: 0x100, .flags: 0xF046]), { seen($0, [.flags: 2]) },
                false
            ),
            (
                "lowest-quotient", vector([0xF6, 0xFB], memory: divideError, changed: atHandler),
                { seen($0, [.ax: 0x80, .cs: 0x1000, .ip: 0x102, .sp: 0x800]) }, true
            ),
            (
                "lowest-quotient", vector([0xF6, 0xFB], memory: divideError, changed: atHandler),
                { seen($0, [.ax: 0x81, .cs: 0x1000, .ip: 0x102, .sp: 0x800]) }, false
            ),
            ("segment-end", vector([0xA1, 0xFF, 0xFF]), { trapped($0, 13) }, true),
            ("segment-end", vector([0xA1, 0xFF, 0xFF]), { trapped($0, 6) }, false),
            ("segment-end", vector([0x53], [.sp: 1]), { seen($0, outcome: .tripleFault) }, true),
            ("segment-end", vector([0x53], [.sp: 8]), { seen($0, outcome: .tripleFault) }, false),
            ("ip-wrap", vector([0x90], [.ip: 0xFFFF], changed: [.ip: 0]), { seen($0, [.ip: 0x1_0000]) }, true),
            ("ip-wrap", vector([0x90], [.ip: 0xFFFF], changed: [.ip: 0]), { seen($0, [.ip: 1]) }, false),
            ("address-wrap", vector([0xA0, 0x20, 1], [.ds: 0xFFFF], memory: [0x110: 7]), { seen($0, [.ax: 0]) }, true),
            (
                "address-wrap", vector([0xA0, 0x20, 1], [.ds: 0xF000], memory: [0x110: 7]), { seen($0, [.ax: 0]) },
                false
            ),
            ("device", vector([0xE6, 0xF4]), { seen($0, outcome: .exited(code: 0)) }, true),
            ("device", vector([0xE6, 0xF5]), { seen($0, outcome: .exited(code: 0)) }, false),
            ("device", vector([0xED], [.dx: 0x3F7]), { seen($0, [.ax: 0]) }, true),
            ("device", vector([0xEC], [.dx: 0x3F7]), { seen($0, [.ax: 0]) }, false),
        ]

    @Test func `each reason claims what it explains, and nothing near it`() {
        for (reason, vector, show, applies) in Self.cases {
            let comparison = Comparison(vector, show(vector))
            #expect(!comparison.differences.isEmpty, "\(reason)")
            let found = KnownDifference.reason(for: comparison)?.name
            #expect((found == reason) == applies, "\(reason), \(vector.bytes): \(found ?? "no reason")")
        }
        #expect(Set(Self.cases.filter(\.applies).map(\.reason)) == Set(KnownDifference.all.map(\.name)))
    }

    @Test func `a plain wrong result has no reason`() {
        let add = vector([0x00, 0xC8], changed: [.ax: 0x44])
        #expect(KnownDifference.reason(for: Comparison(add, seen(add, [.ax: 0x45]))) == nil)
    }
}

@Suite struct ConformReportTests {
    private func tally() -> ConformTally {
        var tally = ConformTally()
        let (add, divide) = (OpcodeForm(opcode: 0x00), OpcodeForm(opcode: 0xF6, member: 6))
        for _ in 0..<3 { tally.add(VectorVerdict(form: add, name: "a", finding: .passed)) }
        tally.add(VectorVerdict(form: divide, name: "b", finding: .known("divide-error")))
        for index in 0..<5 {
            tally.add(VectorVerdict(form: divide, name: "c\(index)", finding: .failed(["ax 0x1 for 0x2"])))
        }
        return tally
    }

    @Test func `counts add up, and the first failures are kept`() {
        #expect(tally().total.count == 9 && tally().total.passed == 3 && tally().total.failed == 5)
        let row = tally().rows[OpcodeForm(opcode: 0xF6, member: 6)]
        #expect(row?.failures.map(\.name) == ["c0", "c1", "c2"])
        #expect(ConformCommand.status(of: tally()) == 1 && ConformCommand.status(of: ConformTally()) == 0)
    }

    @Test func `the table has a row for each opcode, the reasons and the failures`() {
        let lines = ConformReport(tally: tally()).lines
        #expect(lines[0] == "opcode   vectors     pass    known     fail  reasons")
        #expect(lines[1] == "00             3        3        0        0")
        #expect(lines[2] == "f6.6           6        0        1        5  divide-error 1")
        #expect(lines[3] == "total          9        3        1        5")
        #expect(lines.contains { $0.hasPrefix("  divide-error 1: a divide error saves") })
        #expect(lines.last == "  f6.6 c2: ax 0x1 for 0x2")
    }

    @Test func `each opcode is an object`() {
        let objects = ConformReport(tally: tally()).objects.map { String(decoding: $0.bytes, as: UTF8.self) }
        #expect(
            objects[0]
                == #"{"opcode":"00","extension":null,"vectors":3,"passed":3,"known":{},"failed":0,"failures":[]}"#)
        #expect(
            objects[1].hasPrefix(#"{"opcode":"f6","extension":6,"vectors":6,"passed":0,"known":{"divide-error":1}"#))
    }
}
