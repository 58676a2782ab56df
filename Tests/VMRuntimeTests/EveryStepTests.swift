// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

/// What the registers of ``SteppedProgram`` must be after each of its instructions, worked out by hand.
@Suite("Stopped after every instruction", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct EveryStepTests {
    /// After N steps: the instruction that comes next, RAX, RCX, and how far RDI has gone.
    private static let trace: [(next: Int, rax: UInt64, rcx: UInt64, stored: UInt64?)] = [
        (0, 0, 0, nil), (1, 0, 2, nil),
        (2, 2, 2, nil), (3, 2, 2, nil), (4, 0xFF, 2, nil), (5, 0xFF, 1, nil), (1, 0xFF, 1, nil),
        (2, 0x100, 1, nil), (3, 0x100, 1, nil), (4, 0x1FF, 1, nil), (5, 0x1FF, 0, nil), (6, 0x1FF, 0, nil),
        (7, 0x1FF, 0, 0), (8, 0x1FF, 3, 0), (9, 0x1FF, 0, 3),
    ]

    @Test("A budget of N leaves the registers of exactly N instructions", arguments: GuestMode.imageModes)
    func everyBudget(mode: GuestMode) async throws {
        let program = SteppedProgram(mode)
        for steps in 1..<Self.trace.count {
            let spec = JobSpec(mode: mode, budget: Budget(steps: UInt64(steps)))
            let result = try await Run.of(program.image, spec).result
            let expected = Self.trace[steps]
            let limit = UInt64(steps)
            #expect(result.outcome == .exhausted(.steps, limit: limit, used: limit))
            #expect(result.steps == limit)
            #expect(result.meter == .exact)
            let registers = try #require(result.registers)
            #expect(registers.rip == program.load + program.starts[expected.next], "after \(steps) steps")
            #expect(registers.rax == expected.rax, "after \(steps) steps")
            #expect(registers.rcx == expected.rcx, "after \(steps) steps")
            #expect(registers.rdi == expected.stored.map { program.buffer + $0 } ?? 0, "after \(steps) steps")
            #expect(registers.rflags & 0x100 == 0, "the meter's trap flag does not show")
        }
    }

    @Test("A budget of the program's length lets it end", arguments: GuestMode.imageModes)
    func wholeBudget(mode: GuestMode) async throws {
        let program = SteppedProgram(mode)
        let length = UInt64(Self.trace.count)
        let result = try await Run.of(program.image, JobSpec(mode: mode, budget: Budget(steps: length))).result
        #expect(result.outcome == (mode == .user64 ? .exited(code: 0xFF) : .halted))
        #expect(result.steps == length)
        #expect(result.registers?.rip == program.load + (program.starts.last ?? 0))
    }
}
