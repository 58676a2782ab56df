// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// x87 and SSE state, out of the 512 bytes that FXSAVE stores.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0, 2, 4, 6 | 2, 2, 1, 2 | control word, status word, a bit for each register in use, last opcode |
/// | 8, 16 | 8, 8 | last instruction and operand |
/// | 24 | 4 | MXCSR |
/// | 32 | 8 times 16 | ST0 to ST7, or the MMX registers: 10 bytes each |
/// | 160 | 16 times 16 | XMM0 to XMM15 |
struct FloatState {
    private let image: [UInt8]

    /// The state that such an image holds, or nil if it is shorter than one.
    init?(_ image: [UInt8]) {
        guard image.count >= PostMortem.fpuBytes else { return nil }
        self.image = image
    }

    private func number(at offset: Int, bytes: Int) -> UInt64 { StackTable.number(image[offset..<offset + bytes]) }

    var controlWord: UInt64 { number(at: 0, bytes: 2) }
    var statusWord: UInt64 { number(at: 2, bytes: 2) }
    var tags: UInt64 { number(at: 4, bytes: 1) }
    var opcode: UInt64 { number(at: 6, bytes: 2) }
    var instructionPointer: UInt64 { number(at: 8, bytes: 8) }
    var operandPointer: UInt64 { number(at: 16, bytes: 8) }
    var mxcsr: UInt64 { number(at: 24, bytes: 4) }

    /// ST0 to ST7: sign and exponent, and the 64 bits behind.
    var stack: [(exponent: UInt64, significand: UInt64)] {
        (0..<8).map { (number(at: 40 + $0 * 16, bytes: 2), number(at: 32 + $0 * 16, bytes: 8)) }
    }

    /// XMM0 to XMM15, high half first.
    var vectors: [(high: UInt64, low: UInt64)] {
        (0..<16).map { (number(at: 168 + $0 * 16, bytes: 8), number(at: 160 + $0 * 16, bytes: 8)) }
    }

    /// Whether a stack register is in use: tags count from the bottom, registers from the top.
    func isInUse(_ index: Int) -> Bool { tags >> ((UInt64(index) &+ statusWord >> 11) & 7) & 1 == 1 }
}

extension FloatState {
    /// A heading, control words, stack registers in use with their values, vectors that are not zero.
    var lines: [String] {
        let control = [
            ("fcw", controlWord, 4), ("fsw", statusWord, 4), ("ftw", tags, 2), ("fop", opcode, 4), ("mxcsr", mxcsr, 8),
        ]
        let words = control.map { "\($0) \(HexText.padded($1, digits: $2))" }.joined(separator: "  ")
        return ["fpu", "    \(words)"] + stackLines + vectorLines
    }

    private var stackLines: [String] {
        stack.enumerated().filter { isInUse($0.offset) }.map { index, value in
            let digits = HexText.padded(value.exponent, digits: 4) + HexText.padded(value.significand, digits: 16)
            return "    st\(index)    \(digits)  \(Self.describe(value))"
        }
    }

    private var vectorLines: [String] {
        let used = vectors.enumerated().filter { $0.element != (0, 0) }
        guard !used.isEmpty else { return ["    xmm0 to xmm15 are 0"] }
        return used.map { index, value in
            let name = "xmm\(index)"
            let halves = HexText.padded(value.high, digits: 16) + HexText.padded(value.low, digits: 16)
            return "    \(name)\(String(repeating: " ", count: 7 - name.count))\(halves)"
        }
    }

    /// An 80-bit number to the precision of 64 bits; what that cannot hold is infinite or 0.
    static func describe(_ value: (exponent: UInt64, significand: UInt64)) -> String {
        let sign: FloatingPointSign = value.exponent & 0x8000 == 0 ? .plus : .minus
        let exponent = Int(value.exponent & 0x7FFF)
        guard exponent != 0x7FFF else { return value.significand << 1 == 0 ? (sign == .plus ? "inf" : "-inf") : "nan" }
        return "\(Double(sign: sign, exponent: exponent - 16_383 - 63, significand: Double(value.significand)))"
    }
}
