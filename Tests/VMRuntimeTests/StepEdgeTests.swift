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
