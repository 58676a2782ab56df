// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

extension Run {
    /// The records of the trace.
    var trace: [TraceRecord] {
        var decoder = RecordDecoder<TraceRecord>()
        return events.flatMap { event -> [TraceRecord] in
            guard case .output(.trace, let bytes) = event else { return [] }
            return decoder.feed(bytes)
        }
    }

    var steps: [TraceStep] {
        trace.compactMap { record in
            guard case .step(let step) = record else { return nil }
            return step
        }
    }
}

extension JobSpec {
    /// The same job, traced.
    fileprivate var traced: JobSpec {
        var spec = self
        spec.isTraced = true
        return spec
    }
}

@Suite("The trace", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct TraceTests {
    /// Each step: the instruction, and RAX, RCX and how far RDI has gone behind it.
    private static let expected: [(instruction: Int, rax: UInt64, rcx: UInt64, stored: UInt64?)] = [
        (0, 0, 2, nil),
        (1, 2, 2, nil), (2, 2, 2, nil), (3, 0xFF, 2, nil), (4, 0xFF, 1, nil), (5, 0xFF, 1, nil),
        (1, 0x100, 1, nil), (2, 0x100, 1, nil), (3, 0x1FF, 1, nil), (4, 0x1FF, 0, nil), (5, 0x1FF, 0, nil),
        (6, 0x1FF, 0, 0), (7, 0x1FF, 3, 0), (8, 0x1FF, 0, 3), (9, 0x1FF, 0, 3),
    ]

    @Test("Each instruction is told with its place, its bytes and what it changed", arguments: GuestMode.imageModes)
    func everyStep(mode: GuestMode) async throws {
        let program = SteppedProgram(mode)
        let run = try await Run.of(program.image, JobSpec(mode: mode).traced)
        #expect(run.steps.count == Self.expected.count)
        var registers = Registers()
        for (step, expected) in zip(run.steps, Self.expected) {
            let start = program.starts[expected.instruction]
            #expect(step.rip == program.load + start)
            #expect(step.linearAddress == step.rip)
            #expect(step.bits == (mode == .real16 ? 16 : mode == .protected32 ? 32 : 64))
            #expect(step.code.count == 15)
            let bytes = program.image.dropFirst(Int(start)).prefix(15)
            #expect(Array(step.code.prefix(bytes.count)) == Array(bytes))
            for change in step.changes { registers[change.name] = change.value }
            #expect(registers.rax == expected.rax, "at \(start)")
            #expect(registers.rcx == expected.rcx, "at \(start)")
            #expect(registers.rdi == expected.stored.map { program.buffer + $0 } ?? 0, "at \(start)")
            #expect(!step.changes.contains { $0.name == .rip })
            #expect(registers.rflags & 0x100 == 0, "the meter's trap flag does not show")
        }
        #expect(try run.result.steps == UInt64(Self.expected.count))
        #expect(try run.result.outputBytes == 0, "a trace is no output of the guest's")
    }

    @Test("Each exit is told beside its instruction", arguments: GuestMode.imageModes)
    func exits(mode: GuestMode) async throws {
        let run = try await Run.of(SteppedProgram(mode).image, JobSpec(mode: mode).traced)
        var told: [String] = []
        for record in run.trace {
            switch record {
            case .step: told.append("step")
            case .exit(let exit): told.append("\(exit.kind.name) \(exit.value)")
            }
        }
        let round = { (written: String, read: String) in ["step", written, "step", read, "step", "step", "step"] }
        let end = mode == .user64 ? "port-out 255" : "halt 0"
        #expect(
            told == ["step"] + round("port-out 2", "port-in 255") + round("port-out 0", "port-in 255")
                + ["step", "step", "step", end, "step"])
    }

    @Test("A counted guest's trace has as many steps as the job, and ends with its registers", arguments: traceable)
    func counted(_ program: GuestProgram) async throws {
        var spec = program.spec().traced
        spec.budget.wallTime = .seconds(60)
        let run = try await Run.of(program.image, spec)
        let result = try run.result
        #expect(result.steps == program.steps)
        guard result.meter == .exact else { return }
        #expect(UInt64(run.steps.count) == program.steps)
        var registers = Registers()
        registers.rflags = 2
        registers.rsp = program.mode == .real16 ? program.load : 16 << 20
        for (name, value) in spec.registers { registers[name] = value }
        for step in run.steps { for change in step.changes { registers[change.name] = change.value } }
        registers.rip = result.registers?.rip ?? 0
        // What a fault that ends the job changes is no step's.
        if program.end != .tripleFault { #expect(registers == result.registers) }
    }

    static let traceable = GuestProgram.counted.filter { ($0.steps ?? 0) <= 1500 }

    struct Path: Sendable, CustomTestStringConvertible {
        let name: String
        let mode: GuestMode
        let code: String
        var load: UInt64?
        var entry: UInt64?
        /// RIP of each step.
        let path: [UInt64]
        var testDescription: String { name }
    }

    static let paths = [
        Path(
            name: "A fault is no step; its handler's first instruction is", mode: .real16,
            code: "10100000" + String(repeating: "00", count: 0xFFC) + "30db f6f3" + String(repeating: "00", count: 12)
                + "90 90 f4", load: 0, entry: 0x1000, path: [0x1000, 0x1010, 0x1011, 0x1012]),
        // push 0x10; push 0x80000; pushf; push 8; push target; iretq; target: nop; hlt
        Path(
            name: "IRETQ and its target are two steps", mode: .long64,
            code: "6a10 6800000800 9c 6a08 6811001000 48cf 90 f4",
            path: [0, 2, 7, 8, 10, 15, 17, 18].map { 0x10_0000 + $0 }),
        // A gate for #GP leads to a HLT at 0x200000; the pushed frame names a code segment that is none.
        Path(
            name: "An IRETQ that faults is no step", mode: .long64,
            code: "66c7042500902000ff00 c704250290200000802000 0f011c2500902000 c70425d080200000000800"
                + "c70425d4802000008e2000 c6042500002000f4 6a10 6800000800 9c 6a48 6811001000 48cf",
            path: [0, 10, 21, 29, 40, 51, 59, 61, 66, 67, 69].map { 0x10_0000 + $0 } + [0x20_0000]),
        // mov eax, ss; mov ss, eax; mov ss, eax; nop; mov al, 7; out 0xf4, al
        Path(
            name: "MOV SS and what is behind it are steps each", mode: .user64, code: "8cd0 8ed0 8ed0 90 b007 e6f4",
            path: [0, 2, 4, 6, 7, 9].map { 0x10_0000 + $0 }),
        Path(
            name: "MOV SS before an OUT", mode: .user64, code: "8cd0 8ed0 e680 b007 e6f4",
            path: [0, 2, 4, 6, 8].map { 0x10_0000 + $0 }),
        // INT3 retires before it traps.
        Path(name: "INT3 is a step", mode: .user64, code: "90 cc", path: [0x10_0000, 0x10_0001]),
        Path(name: "UD2 is none", mode: .user64, code: "90 0f0b", path: [0x10_0000]),
        // push 0x1b; push 0x100009; retfq: 32-bit code; nop; ud2
        Path(
            name: "32-bit code at ring 3", mode: .user64, code: "6a1b 6809001000 48cb 90 0f0b",
            path: [0, 2, 7, 9].map { 0x10_0000 + $0 }),
    ]

    @Test("What retired is told, and nothing else", arguments: paths)
    func path(_ example: Path) async throws {
        let spec = JobSpec(mode: example.mode, loadAddress: example.load, entryPoint: example.entry)
        let run = try await Run.of(hex(example.code), spec.traced)
        #expect(run.steps.map(\.rip) == example.path)
        #expect(try run.result.steps == UInt64(example.path.count))
    }

    @Test("The size of the code is that of each instruction's segment")
    func bits() async throws {
        let run = try await Run.of(hex("6a1b 6809001000 48cb 90 0f0b"), JobSpec(mode: .user64).traced)
        #expect(run.steps.map(\.bits) == [64, 64, 64, 32])
    }

    @Test("A trace ends with the job's step budget")
    func budget() async throws {
        // jmp $
        let run = try await Run.of(hex("ebfe"), JobSpec(budget: Budget(steps: 1000)).traced)
        #expect(try run.result.outcome == .exhausted(.steps, limit: 1000, used: 1000))
        #expect(run.steps.count == 1000)
        #expect(run.steps.allSatisfy { $0.changes.isEmpty })
    }

    @Test("A pause leaves no trace", arguments: GuestMode.imageModes)
    func paused(mode: GuestMode) async throws {
        let whole = try await Run.of(SteppedProgram(mode).image, JobSpec(mode: mode).traced)
        var spec = JobSpec(mode: mode, budget: Budget(steps: 1)).traced
        spec.pausesWhenStepsRunOut = true
        let pieces = try await Run.of(SteppedProgram(mode).image, spec) { $0.resume($1, steps: 2) }
        #expect(pieces.trace == whole.trace)
        #expect(try pieces.result.outcome == whole.result.outcome)
    }

    @Test("A traced guest waits for credit, at most for its wall time, and what came is a part of the trace")
    func unread() async throws {
        let run = try await Run.of(
            hex("ebfe"), JobSpec(budget: Budget(wallTime: .milliseconds(300))).traced, credit: 100)
        #expect(try run.result.outcome.name == "wall-time-exhausted")
        #expect(!run.steps.isEmpty)
        let bytes = run.events.reduce(0) { count, event in
            guard case .output(.trace, let bytes) = event else { return count }
            return count + bytes.count
        }
        #expect(bytes <= PendingOutput.chunkBytes + 4096 + 100, "it does not pile up")
    }

    @Test("The guest's console is what it is without a trace")
    func console() async throws {
        let program = try GuestProgram.named("hello")
        let run = try await Run.of(program.image, program.spec().traced)
        #expect(run.text == "hello\n")
        #expect(try run.result.outputBytes == 6)
    }
}
