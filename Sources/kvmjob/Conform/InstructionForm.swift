// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// An opcode, and for a group of instructions that share one, the member: what a table of results has its rows by.
struct OpcodeForm: Sendable, Hashable, Comparable {
    var opcode: UInt8
    /// The `reg` field of the ModRM byte, where it belongs to the opcode.
    var member: UInt8?

    /// Such as `f6.6`, or `90`.
    var text: String { HexText.padded(opcode, digits: 2) + (member.map { ".\($0)" } ?? "") }

    static func < (left: Self, right: Self) -> Bool {
        (left.opcode, left.member ?? 0) < (right.opcode, right.member ?? 0)
    }
}

/// An instruction's bytes, taken apart as far as an 8088 does it before it acts.
struct InstructionForm: Sendable, Hashable {
    /// The prefixes, in order.
    let prefixes: [UInt8]
    let opcode: UInt8
    /// The byte behind the opcode, which is the ModRM byte where the opcode has one; 0 where nothing follows.
    let next: UInt8

    private static let prefixBytes: Set<UInt8> = [0x26, 0x2E, 0x36, 0x3E, 0xF0, 0xF2, 0xF3]
    /// Opcodes that are several instructions, told apart by the ModRM byte.
    private static let groups: Set<UInt8> = [
        0x80, 0x81, 0x82, 0x83, 0x8F, 0xC6, 0xC7, 0xD0, 0xD1, 0xD2, 0xD3, 0xF6, 0xF7, 0xFE, 0xFF,
    ]

    init(_ bytes: [UInt8]) {
        // The last byte is the opcode, whatever it looks like.
        prefixes = Array(bytes.dropLast().prefix { Self.prefixBytes.contains($0) })
        opcode = bytes.dropFirst(prefixes.count).first ?? 0
        next = bytes.dropFirst(prefixes.count + 1).first ?? 0
    }

    var form: OpcodeForm { OpcodeForm(opcode: opcode, member: Self.groups.contains(opcode) ? register : nil) }

    /// The ModRM byte's `reg`, where there is a ModRM byte.
    var register: UInt8 { next >> 3 & 7 }
    /// The ModRM byte's `r/m`.
    var operand: UInt8 { next & 7 }
    /// Whether the ModRM byte's operand is a register.
    var hasRegisterOperand: Bool { next >> 6 == 3 }
    var isRepeated: Bool { prefixes.contains(0xF2) || prefixes.contains(0xF3) }
    var isLocked: Bool { prefixes.contains(0xF0) }
}
