// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Memory as `hexdump -C` shows it: addresses, hexadecimal digits, characters; a line like the one before is a `*`.
struct HexDump: Sequence {
    /// Bytes of a line: 16.
    static let lineBytes = 16

    let address: UInt64
    let bytes: [UInt8]

    /// The lines one by one, since there can be millions. The last one is the address behind the window.
    func makeIterator() -> AnyIterator<String> {
        var (offset, previous, isFolded, isFinished) = (0, ArraySlice<UInt8>?.none, false, false)
        return AnyIterator {
            while offset < bytes.count {
                let row = bytes[offset..<Swift.min(offset + Self.lineBytes, bytes.count)]
                defer { (offset, previous) = (offset + row.count, row) }
                guard let last = previous, last.elementsEqual(row) else {
                    isFolded = false
                    return line(row)
                }
                defer { isFolded = true }
                if !isFolded { return "*" }
            }
            defer { isFinished = true }
            return isFinished ? nil : addressText(bytes.count)
        }
    }

    private func line(_ row: ArraySlice<UInt8>) -> String {
        let half = Self.lineBytes / 2
        let digits = [row.prefix(half), row.dropFirst(half)].map { bytes in
            let text = HexText.describe(bytes: bytes)
            return text + String(repeating: " ", count: half * 3 - 1 - text.count)
        }
        return "\(addressText(row.startIndex))  \(digits.joined(separator: "  "))  |\(Self.characters(row))|"
    }

    private func addressText(_ offset: Int) -> String {
        HexText.padded(address &+ UInt64(offset), digits: address > UInt64(UInt32.max) ? 16 : 8)
    }

    /// ASCII as it is, and a dot for what is none or cannot be seen.
    static func characters(_ bytes: some Collection<UInt8>) -> String {
        String(decoding: bytes.map { 0x20..<0x7F ~= $0 ? $0 : UInt8(ascii: ".") }, as: UTF8.self)
    }
}

extension MemoryDump {
    /// A heading, such as `memory 0x7c00, 512 bytes`.
    var heading: String {
        "memory \(HexText.describe(address)), \(SizeText.describe(UInt64(bytes.count)))"
            + (isComplete ? "" : "; not all of it came, what is missing is shown as 0")
    }
}
