// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// One machine instruction.
public struct Instruction: Sendable, Hashable {
    /// The most bytes of an x86 instruction: 15.
    public static let byteLimit = 15
    /// The ``text`` of bytes that are no instruction.
    public static let undecodable = "(bad)"

    /// The address of the first byte, as the instruction pointer holds it.
    public var address: UInt64
    /// The instruction's bytes and no more.
    public var bytes: [UInt8]
    /// Intel syntax, such as `mov ax, 0x1234`; ``undecodable`` where the bytes are no instruction.
    public var text: String

    /// An instruction with its parts.
    public init(address: UInt64, bytes: [UInt8], text: String) {
        (self.address, self.bytes, self.text) = (address, bytes, text)
    }

    /// The address behind the instruction; it wraps at 64 bits.
    public var end: UInt64 { address &+ UInt64(bytes.count) }

    /// Whether the bytes are an instruction.
    public var isDecoded: Bool { text != Self.undecodable }
}

/// The default operand and address size of a code segment. The raw values are its bits.
public enum CodeSize: UInt8, Sendable, Hashable, CaseIterable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case bits16 = 16, bits32 = 32, bits64 = 64
}
