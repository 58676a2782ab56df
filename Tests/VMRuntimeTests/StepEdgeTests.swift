// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

/// Programs that once made a meter lie, or the guest see it. Each must end the same metered and free.
@Suite("A meter changes nothing and misses nothing", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct StepEdgeTests {
    /// Machine code, and how many steps it takes.
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let code: String
        var mode = GuestMode.user64
        let steps: UInt64?
        var testDescription: String { name }
    }

    static let cases = [
        Case(name: "ICEBP raises its own debug exception", code: "f1 b007 e6f4", steps: 0),
        Case(
            name: "INC EAX of 32-bit code is no REX prefix",
            code: "6a1b 6809001000 48cb 6aff 40 9c 59 5b b007 e6f4", steps: nil),
        Case(
            name: "MOV SS in 32-bit code", code: "6a1b 6809001000 48cb b822000000 40 8ed0 90 b007 e6f4", steps: 9),
        Case(name: "PUSHF behind MOV SS does not show the trap flag", code: "8cd0 8ed0 9c 5b b007 e6f4", steps: 6),
        Case(
            name: "POPF behind MOV SS sets the program's own trap flag",
            code: "6802010000 8cd0 8ed0 9d 90 90 b007 e6f4", steps: nil),
        Case(name: "LOCK HLT is an invalid opcode", code: "f0f4", mode: .protected32, steps: 0),
        Case(name: "SYSCALL leads nowhere", code: "0f05 b007 e6f4", steps: nil),
    ]

    @Test("Metered and free are the same", arguments: cases)
    func same(_ example: Case) async throws {
        let image = hex(example.code)
        let free = try await Run.of(image, JobSpec(mode: example.mode)).result
        let metered = try await Run.of(image, JobSpec(mode: example.mode, budget: Budget(steps: 1000))).result
        #expect(metered.outcome == free.outcome)
        #expect(metered.registers == free.registers)
        if let steps = example.steps { #expect(metered.steps == steps) }
    }

    @Test("A long64 guest cannot leave its step budget by going to ring 3")
    func ringThree() async throws {
        // push 0x23; push 0x80000; pushf; push 0x2b; push user; iretq; user: inc eax ×1,048,576; mov al,7; out 0xf4,al
        let image = hex("6a23 6800000800 9c 6a2b 6811001000 48cf b940420f00 ffc9 75fc b007 e6f4")
        let free = try await Run.of(image, JobSpec(mode: .long64)).result
        #expect(free.outcome == .exited(code: 7), "without a budget it may")
        let result = try await Run.of(image, JobSpec(mode: .long64, budget: Budget(steps: 100))).result
        if try Hardware.backend.get().profile.stepsRing3 {
            #expect(result.outcome == .exhausted(.steps, limit: 100, used: 100))
        } else {
            #expect(result.outcome.name == "host-error")
            #expect(result.steps == 5, "the IRETQ has not run")
        }
    }

    @Test("Bytes that a guest wrote before it had to wait all arrive", arguments: [1, 100, 20_000])
    func nothingLost(credit: Int) async throws {
        // mov cx, 20000; again: out 0xe9, al; loop again; jmp $
        let image = hex("b9204e e6e9 e2fc ebfe")
        let spec = JobSpec(budget: Budget(wallTime: .milliseconds(700)))
        let run = try await Run.of(image, spec, credit: credit)
        let result = try run.result
        #expect(result.outcome.name == "wall-time-exhausted")
        #expect(UInt64(run.console.count) == result.outputBytes)
        #expect(result.outputBytes == result.exits.io)
    }
}

@Suite("Instructions that hold the trap back", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct HeldTrapTests {
    /// A user64 program, its steps, and how it ends.
    struct Program: Sendable, CustomTestStringConvertible {
        let code: String
        let steps: UInt64
        let end: String
        var testDescription: String { code }
    }

    // mov ax, ss; then MOV SS once or twice in front of what faults or traps.
    static let programs = [
        Program(code: "66 8C D0 66 8E D0 0F 0B", steps: 2, end: "faulted"),
        Program(code: "66 8C D0 66 8E D0 66 8E D0 0F 0B", steps: 3, end: "faulted"),
        Program(code: "66 8C D0 66 8E D0 8A 1C 25 00 00 00 00", steps: 2, end: "faulted"),
        Program(code: "66 8C D0 66 8E D0 CC", steps: 3, end: "faulted"),
        Program(code: "66 8C D0 66 8E D0 0F 05", steps: 2, end: "faulted"),
        Program(code: "90 90 0F 0B", steps: 2, end: "faulted"),
        // To 32-bit code by RETFQ, where 67 makes addresses 16 bits wide: mov ss, [0x8000]; mov ss, [si]; mov ss, [0x8000].
        Program(
            code: "48BC0000200000000000 681B000000 6816001000 48CB 668CD0 66A300800000 678E160080 9C 5B 31C0 E6F4",
            steps: 11, end: "exited"),
        Program(
            code:
                "48BC0000200000000000 681B000000 6816001000 48CB 668CD0 66A300800000 BE00800000 678E14 9C 5B 31C0 E6F4",
            steps: 12, end: "exited"),
        Program(
            code: "48BC0000200000000000 681B000000 6816001000 48CB 668CD0 66A300800000 8E1500800000 9C 5B 31C0 E6F4",
            steps: 11, end: "exited"),
    ]

    @Test("MOV SS counts, whatever comes behind it", arguments: programs)
    func counts(_ program: Program) async throws {
        let spec = JobSpec(mode: .user64, budget: Budget(steps: 30_000))
        let result = try await Run.of(hex(program.code), spec).result
        #expect(result.outcome.name == program.end)
        #expect(result.steps == program.steps)
        #expect(result.meter == .exact)
    }

    @Test func `a budget that MOV SS uses up is exhausted before the fault behind it`() async throws {
        let spec = JobSpec(mode: .user64, budget: Budget(steps: 2))
        let result = try await Run.of(hex("66 8C D0 66 8E D0 0F 0B"), spec).result
        #expect(result.outcome == .exhausted(.steps, limit: 2, used: 2))
        #expect(result.registers?.rip == 0x10_0006)
    }

    /// Guests whose exceptions, returns and HLT run together where a software backend steps them, and their steps.
    static let chains: [(name: String, steps: UInt64)] = [
        ("chain-fault-return-halt", 14), ("chain-return-fault-return-halt", 17),
    ]

    @Test("What faults, returns and halts within one run is counted, or said not to be", arguments: chains)
    func chain(_ chain: (name: String, steps: UInt64)) async throws {
        let guest = try GuestProgram.named(chain.name)
        var spec = guest.spec(Budget(steps: 1000))
        spec.meter = .stepped
        let result = try await Run.of(guest.image, spec).result
        #expect(result.outcome == .halted)
        if case .exact = result.meter { #expect(result.steps == chain.steps) }
        if try Hardware.backend.get().profile.countsEmulation { #expect(result.meter != .exact) }
    }

    @Test func `a guest that does nothing but fault and return has no exact count`() async throws {
        let guest = try GuestProgram.named("chain-endless")
        var spec = guest.spec(Budget(steps: 1 << 40, wallTime: .milliseconds(100)))
        spec.meter = .stepped
        let result = try await Run.of(guest.image, spec).result
        #expect(result.outcome.name == "wall-time-exhausted")
        if try Hardware.backend.get().profile.countsEmulation { #expect(result.meter != .exact) }
    }

    @Test(
        "What KVM tries for ever is no step",
        arguments: [(GuestMode.real16, "90 CD 80"), (.long64, "90 0F 01 C1")], [nil, MeterRequest.stepped])
    func spins(_ guest: (GuestMode, String), meter: MeterRequest?) async throws {
        var spec = JobSpec(mode: guest.0, budget: Budget(steps: 5000, wallTime: .milliseconds(100)))
        spec.meter = meter
        let result = try await Run.of(hex(guest.1), spec).result
        switch result.outcome {
        case .exhausted(.wallTime, _, _): #expect(result.steps == 1)
        case .exhausted(.steps, _, _): Issue.record("what never retires has used up \(result.steps ?? 0) steps")
        // A KVM that can do it goes on somewhere.
        default: return
        }
    }
}
