// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import Testing

@testable import ProcessSandbox

/// A filter as the kernel runs it: classic BPF over a `struct seccomp_data`.
struct FilterProgram {
    private struct Instruction {
        var code: UInt16
        var ifTrue, ifFalse: Int
        var constant: UInt32
    }

    enum Verdict: Equatable {
        case allow, kill, other(UInt32)
        case fail(Int32)
    }

    private let instructions: [Instruction]
    /// AUDIT_ARCH_X86_64
    static let thisArchitecture: UInt32 = 0xC000_003E

    init(_ policy: SystemCallPolicy) throws {
        var name = Array("/tmp/kvmjob-filter-XXXXXX".utf8CString)
        let file = mkstemp(&name)
        try #require(file >= 0)
        unlink(name)
        defer { close(file) }
        try SystemCallFilter(policy).write(to: file)
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = pread(file, &bytes, bytes.count, 0)
        try #require(count > 0 && count % 8 == 0)
        instructions = stride(from: 0, to: count, by: 8).map { at in
            let word = { (offset: Int) in UInt32(bytes[at + offset]) }
            return Instruction(
                code: UInt16(word(0) | word(1) << 8), ifTrue: Int(word(2)), ifFalse: Int(word(3)),
                constant: word(4) | word(5) << 8 | word(6) << 16 | word(7) << 24)
        }
    }

    /// What becomes of a call, and after how many instructions that is known.
    func judge(
        _ number: Int, _ arguments: [UInt64] = [], architecture: UInt32 = FilterProgram.thisArchitecture
    ) throws -> (Verdict, steps: Int) {
        let rest = [UInt64](repeating: 0, count: 6 - arguments.count)
        // The call's number, the architecture, the instruction pointer, and six arguments, all with the low half first.
        var data: [UInt32] = [UInt32(number), architecture, 0, 0]
        for argument in arguments + rest { data += [UInt32(truncatingIfNeeded: argument), UInt32(argument >> 32)] }
        var (place, steps, accumulator) = (0, 0, UInt32(0))
        while true {
            let now = instructions[place]
            (place, steps) = (place + 1, steps + 1)
            switch now.code {
            case 0x20: accumulator = data[Int(now.constant) / 4]
            case 0x54: accumulator &= now.constant
            case 0x05: place += Int(now.constant)
            case 0x15: place += accumulator == now.constant ? now.ifTrue : now.ifFalse
            case 0x25: place += accumulator > now.constant ? now.ifTrue : now.ifFalse
            case 0x35: place += accumulator >= now.constant ? now.ifTrue : now.ifFalse
            case 0x45: place += accumulator & now.constant != 0 ? now.ifTrue : now.ifFalse
            case 0x06: return (Self.verdict(now.constant), steps)
            default: throw Unknown(code: now.code)
            }
        }
    }

    struct Unknown: Error { var code: UInt16 }

    private static func verdict(_ value: UInt32) -> Verdict {
        switch value & 0xFFFF_0000 {
        case 0x7FFF_0000: .allow
        case 0x8000_0000: .kill
        case 0x0005_0000: .fail(Int32(value & 0xFFFF))
        default: .other(value)
        }
    }
}
