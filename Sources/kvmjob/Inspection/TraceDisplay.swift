// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Disassembly
internal import JobModel

/// A guest's steps and exits as they come, as lines for people or as JSON objects.
///
/// It holds no more than a part of one record.
struct TraceDisplay {
    /// Whether the worker sent what is no record. Nothing after that is shown.
    var isBroken: Bool { decoder.isBroken }

    private var decoder = RecordDecoder<TraceRecord>()
    private var disassemblers: [CodeSize: Disassembler] = [:]
    /// The steps so far.
    private var count: UInt64 = 0
    /// The name of the job.
    private let name: String

    init(name: String) { self.name = name }

    /// The records that these bytes complete, each on a line.
    mutating func lines(_ bytes: [UInt8]) -> [String] {
        decoder.feed(bytes).map { record in
            switch record {
            case .step(let step):
                count &+= 1
                return line(step)
            case .exit(let exit): return "\(Self.indentation)exit: \(exit.text)"
            }
        }
    }

    /// The same as JSON: the first key is `trace`, which no other object has, and its value `step` or `exit`.
    ///
    /// A step has `name`, `step` (its number, from 1), `address` (linear), `rip`, `bits`, `bytes`, `text`, and `changes`: the
    /// registers that it changed, with their new values. An exit has `name` and the keys of ``PostMortemJSON``'s `last_exits`.
    mutating func objects(_ bytes: [UInt8]) -> [JSONValue] {
        decoder.feed(bytes).map { record in
            switch record {
            case .step(let step):
                count &+= 1
                return object(step)
            case .exit(let exit):
                return .object([("trace", .string("exit")), ("name", .string(name))] + exit.members)
            }
        }
    }

    private static let numberDigits = 7
    private static let indentation = String(repeating: " ", count: numberDigits + 2)
    /// Most instructions have no more bytes; a longer one moves the rest of its line.
    private static let bytesWidth = 8 * 3 - 1
    private static let textWidth = 32

    /// Such as `      1  00007c00  b8 34 12                 mov ax, 0x1234                    rax=0x1234`.
    private mutating func line(_ step: TraceStep) -> String {
        let instruction = instruction(of: step)
        let number = String(count)
        let changes = step.changes.map { change in
            let flags = change.name == .rflags ? " " + BitNames.describeFlags(change.value) : ""
            return "\(change.name.name)=\(HexText.describe(change.value))\(flags)"
        }
        let address = HexText.padded(step.linearAddress, digits: step.linearAddress > UInt64(UInt32.max) ? 16 : 8)
        let cells = [
            Self.padding(number, Self.numberDigits) + number, address,
            Self.padded(HexText.describe(bytes: instruction.bytes), Self.bytesWidth),
            changes.isEmpty ? instruction.text : Self.padded(instruction.text, Self.textWidth),
        ]
        return (cells + (changes.isEmpty ? [] : [changes.joined(separator: " ")])).joined(separator: "  ")
    }

    private mutating func object(_ step: TraceStep) -> JSONValue {
        let instruction = instruction(of: step)
        return .object([
            ("trace", .string("step")), ("name", .string(name)), ("step", .number(count)),
            ("address", .hex(step.linearAddress)), ("rip", .hex(step.rip)), ("bits", .count(step.bits)),
            ("bytes", .string(HexText.describe(bytes: instruction.bytes))), ("text", .string(instruction.text)),
            ("changes", .object(step.changes.map { ($0.name.name, .hex($0.value)) })),
        ])
    }

    private mutating func instruction(of step: TraceStep) -> Instruction {
        let undecodable = Instruction(address: step.rip, bytes: step.code, text: Instruction.undecodable)
        guard let size = CodeSize(rawValue: step.bits) else { return undecodable }
        let disassembler = disassemblers[size] ?? Disassembler(size)
        disassemblers[size] = disassembler
        return disassembler.instruction(at: step.rip, in: step.code) ?? undecodable
    }

    private static func padding(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count))
    }

    private static func padded(_ text: String, _ width: Int) -> String { text + padding(text, width) }
}
