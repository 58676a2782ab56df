// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Disassembly
internal import JobModel

/// Memory from the stack pointer on, in words of the size that the code pushes.
struct StackTable {
    /// Bytes of a line: 16.
    static let lineBytes = 16
    /// Lines that are shown to people: 8.
    static let lineLimit = 8

    let window: MemoryWindow
    let size: CodeSize

    /// A heading, and lines of words with the linear address of the first; a line like the one before is a `*`, as are all that
    /// follow and are like it. A word that memory has only a part of is left out.
    var lines: [String] {
        let count = size.wordBytes
        let words = stride(from: 0, through: window.bytes.count - count, by: count).map { start in
            HexText.padded(Self.number(window.bytes[start..<start + count]), digits: count * 2)
        }
        let perLine = Self.lineBytes / count
        let starts = stride(from: 0, to: words.count, by: perLine).prefix(Self.lineLimit)
        let addresses = starts.map { window.address &+ UInt64($0 * count) }
        let digits = addresses.allSatisfy { $0 <= UInt64(UInt32.max) } ? 8 : 16
        var (lines, previous) = (["stack, \(size.rawValue)-bit words"], "")
        for (start, address) in zip(starts, addresses) {
            let row = words[start..<min(start + perLine, words.count)].joined(separator: " ")
            if row != previous {
                lines.append("    \(HexText.padded(address, digits: digits))  \(row)")
            } else if lines.last != Self.folded {
                lines.append(Self.folded)
            }
            previous = row
        }
        return lines
    }

    private static let folded = "    *"

    /// Bytes as a number, the first one the lowest.
    static func number(_ bytes: some BidirectionalCollection<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
