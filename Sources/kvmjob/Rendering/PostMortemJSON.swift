// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Disassembly
internal import Foundation
internal import JobModel

/// The post-mortem's part of a job's object in JSON, by the rules of ``JSONReport``.
///
/// | key | value |
/// |---|---|
/// | `post_mortem` | what helps to understand the end, null where there was none; its keys: |
/// | `cause` | of `triple-fault`: the exception that started it, as `fault` has it |
/// | `code` | memory around RIP: `address` (linear), `bytes`, `bits` (16, 32 or 64), `current` (which instruction RIP is at), `instructions` (`address` (linear), `bytes`, `text`) |
/// | `stack` | memory from the stack pointer on: `address` (linear), `bytes` |
/// | `last_exits` | of each: `kind`, `address`, `size`, `count`, `value`, `rip` |
/// | `fpu` | with `--fpu`: `fcw`, `fsw`, `ftw`, `fop`, `fip`, `fdp`, `mxcsr`, `st` and `xmm` (digits of each), `fxsave_base64` |
/// | `dumps` | behind `post_mortem`; with `--dump`: `address`, `length`, `complete`, `base64` of each window, null of a job that never ran |
/// | `screen` | with `--screen`: 25 strings, the lines from the top without the blanks at their ends |
///
/// Bytes are in hexadecimal, with spaces. Targets of jumps in `text` are offsets in the code segment, as RIP is.
struct PostMortemJSON {
    let report: JobReport

    var members: [(key: String, value: JSONValue)] {
        [
            ("post_mortem", postMortem), ("dumps", report.dumps.map { .array($0.map(Self.dump)) } ?? .null),
            ("screen", report.screen.map { .array($0.lines.map(JSONValue.string)) } ?? .null),
        ]
    }

    private var postMortem: JSONValue {
        guard case .ended(let result) = report.end else { return .null }
        let found = result.postMortem
        return .object([
            ("cause", found.cause.map(JSONReport.fault) ?? .null),
            ("code", found.code.flatMap { window in report.listing.map { Self.code(window, $0) } } ?? .null),
            ("stack", found.stack.map { .object(Self.window($0)) } ?? .null),
            ("last_exits", .array(found.exits.map { .object($0.members) })),
            ("fpu", found.fpu.flatMap { Self.fpu($0) } ?? .null),
        ])
    }

    private static func window(_ window: MemoryWindow) -> [(key: String, value: JSONValue)] {
        [("address", .hex(window.address)), ("bytes", .string(HexText.describe(bytes: window.bytes)))]
    }

    private static func code(_ window: MemoryWindow, _ listing: CodeListing) -> JSONValue {
        let instructions = listing.instructions.map { instruction in
            JSONValue.object([
                ("address", .hex(listing.linearAddress(of: instruction))),
                ("bytes", .string(HexText.describe(bytes: instruction.bytes))), ("text", .string(instruction.text)),
            ])
        }
        return .object(
            Self.window(window) + [
                ("bits", .count(listing.size.rawValue)), ("current", .count(listing.current)),
                ("instructions", .array(instructions)),
            ])
    }

    private static func fpu(_ image: [UInt8]) -> JSONValue? {
        guard let state = FloatState(image) else { return nil }
        let digits = { (parts: [(UInt64, Int)]) in
            JSONValue.string("0x" + parts.map { HexText.padded($0, digits: $1) }.joined())
        }
        return .object([
            ("fcw", .hex(state.controlWord)), ("fsw", .hex(state.statusWord)), ("ftw", .hex(state.tags)),
            ("fop", .hex(state.opcode)), ("fip", .hex(state.instructionPointer)), ("fdp", .hex(state.operandPointer)),
            ("mxcsr", .hex(state.mxcsr)),
            ("st", .array(state.stack.map { digits([($0.exponent, 4), ($0.significand, 16)]) })),
            ("xmm", .array(state.vectors.map { digits([($0.high, 16), ($0.low, 16)]) })),
            ("fxsave_base64", .string(Data(image).base64EncodedString())),
        ])
    }

    private static func dump(_ dump: MemoryDump) -> JSONValue {
        .object([
            ("address", .hex(dump.address)), ("length", .count(dump.bytes.count)), ("complete", .bool(dump.isComplete)),
            ("base64", .string(Data(dump.bytes).base64EncodedString())),
        ])
    }
}

extension ExitRecord {
    /// The record's parts as JSON has them.
    var members: [(key: String, value: JSONValue)] {
        [
            ("kind", .string(kind.name)), ("address", .hex(address)), ("size", .count(size)), ("count", .count(count)),
            ("value", .hex(value)), ("rip", .hex(rip)),
        ]
    }
}
