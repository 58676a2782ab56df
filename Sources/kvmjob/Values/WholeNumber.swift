// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Whole numbers as people write them: decimal, or hexadecimal behind `0x`.
enum WholeNumber {
    /// The number that a text writes; no sign, no separators, no octal.
    static func parse(_ text: String) throws(ValueError) -> UInt64 {
        let isHexadecimal = text.hasPrefix("0x") || text.hasPrefix("0X")
        let digits = isHexadecimal ? text.dropFirst(2) : text[...]
        let allowed: (Character) -> Bool = isHexadecimal ? { $0.isASCII && $0.isHexDigit } : { "0"..."9" ~= $0 }
        guard !digits.isEmpty, digits.allSatisfy(allowed) else {
            throw ValueError("\"\(text)\" is not a number: write decimal digits, or hexadecimal ones behind 0x")
        }
        guard let number = UInt64(digits, radix: isHexadecimal ? 16 : 10) else {
            throw ValueError("\(text) does not fit in 64 bits")
        }
        return number
    }

    /// Splits a text into a number and the unit behind it; the unit of "4096" is empty.
    static func parseWithUnit(_ text: String) throws(ValueError) -> (number: UInt64, unit: String) {
        guard !text.hasPrefix("0x"), !text.hasPrefix("0X") else { return (try parse(text), "") }
        let digits = text.prefix { "0"..."9" ~= $0 }
        return (try parse(digits.isEmpty ? text : String(digits)), String(text.dropFirst(digits.count)))
    }
}
