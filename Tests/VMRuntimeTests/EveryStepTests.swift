// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

/// One small program, and what its registers must be after each of its instructions, worked out by hand.
///
///         mov cx, 2
///     again:
///         add ax, cx
///         out 0x80, al
///         in al, 0x80         ; nobody there: all ones
///         dec cx
///         jnz again
///         mov di, buffer
///         mov cx, 3
///         rep stosb           ; one step
///         hlt                 ; at ring 3: out 0xf4, al
@Suite("Stopped after every instruction", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct EveryStepTests {
    /// The program of a mode: its bytes, where each of its instructions begins, and its buffer.
    private struct Program {
        var image: [UInt8]
        var starts: [UInt64]
        var load: UInt64
        var buffer: UInt64

        init(_ mode: GuestMode) {
            if mode == .real16 {
                image = hex("b90200 01c8 e680 e480 49 75f7 bf0020 b90300 f3aa f4")
                starts = [0, 3, 5, 7, 9, 10, 12, 15, 18, 20, 21]
                (load, buffer) = (0x1000, 0x2000)
            } else {
                image = hex("b902000000 01c8 e680 e480 ffc9 75f6 bf00001800 b903000000 f3aa")
                image += mode == .user64 ? hex("e6f4") : hex("f4")
                starts = [0, 5, 7, 9, 11, 13, 15, 20, 25, 27, mode == .user64 ? 29 : 28]
                (load, buffer) = (0x10_0000, 0x18_0000)
            }
        }
    }

    /// After N steps: the instruction that comes next, RAX, RCX, and how far RDI has gone.
    private static let trace: [(next: Int, rax: UInt64, rcx: UInt64, stored: UInt64?)] = [
        (0, 0, 0, nil), (1, 0, 2, nil),
        (2, 2, 2, nil), (3, 2, 2, nil), (4, 0xFF, 2, nil), (5, 0xFF, 1, nil), (1, 0xFF, 1, nil),
        (2, 0x100, 1, nil), (3, 0x100, 1, nil), (4, 0x1FF, 1, nil), (5, 0x1FF, 0, nil), (6, 0x1FF, 0, nil),
        (7, 0x1FF, 0, 0), (8, 0x1FF, 3, 0), (9, 0x1FF, 0, 3),
    ]

    @Test("A budget of N leaves the registers of exactly N instructions", arguments: GuestMode.allCases)
    func everyBudget(mode: GuestMode) async throws {
        let program = Program(mode)
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

    @Test("A budget of the program's length lets it end", arguments: GuestMode.allCases)
    func wholeBudget(mode: GuestMode) async throws {
        let program = Program(mode)
        let length = UInt64(Self.trace.count)
        let result = try await Run.of(program.image, JobSpec(mode: mode, budget: Budget(steps: length))).result
        #expect(result.outcome == (mode == .user64 ? .exited(code: 0xFF) : .halted))
        #expect(result.steps == length)
        #expect(result.registers?.rip == program.load + (program.starts.last ?? 0))
    }
}
