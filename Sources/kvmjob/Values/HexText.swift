// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Machine code on the command line: `b0 34 e6 e9 f4`.
enum HexText {
    /// The bytes that pairs of hexadecimal digits write.
    ///
    /// White space and commas may stand between bytes, and `0x` before each group: `b034`, `0xb0, 0x34` and `b0 34` are
    /// the same.
    static func parse(_ text: String) throws(ValueError) -> [UInt8] {
        var bytes: [UInt8] = []
        for group in text.split(whereSeparator: { $0.isWhitespace || $0 == "," }) {
            let digits = group.hasPrefix("0x") || group.hasPrefix("0X") ? group.dropFirst(2) : group
            guard !digits.isEmpty, digits.count.isMultiple(of: 2) else {
                throw ValueError(
                    "\"\(group)\" behind byte \(bytes.count) is not whole bytes: write two digits for each")
            }
            var values: [UInt8] = []
            for digit in digits {
                guard digit.isASCII, let value = digit.hexDigitValue else {
                    throw ValueError("\"\(digit)\" behind byte \(bytes.count) is not a hexadecimal digit")
                }
                values.append(UInt8(value))
            }
            for high in stride(from: 0, to: values.count, by: 2) { bytes.append(values[high] << 4 | values[high + 1]) }
        }
        return bytes
    }

    /// A number as `0x` and its digits, none of them needless.
    static func describe(_ number: some BinaryInteger) -> String { "0x" + String(number, radix: 16) }

    /// A number with leading zeros up to this many digits, without `0x`.
    static func padded(_ number: some BinaryInteger, digits: Int) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }

    /// A digest's bytes in pairs of digits with nothing between.
    static func describe(digest: [UInt8]) -> String { digest.map { padded($0, digits: 2) }.joined() }

    /// Bytes in pairs of digits with spaces between.
    static func describe(bytes: some Sequence<UInt8>) -> String {
        bytes.map { padded($0, digits: 2) }.joined(separator: " ")
    }
}
