// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Sizes on the command line, such as `64KiB`, `16MiB` and `1GiB`, and sizes told to people.
enum SizeText {
    private static let units: [(name: String, bytes: UInt64)] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]

    /// The bytes that a whole number and its unit write; without a unit, bytes.
    static func parse(_ text: String) throws(ValueError) -> UInt64 {
        let (number, unit) = try WholeNumber.parseWithUnit(text)
        guard !unit.isEmpty else { return number }
        guard let factor = units.first(where: { $0.name == unit })?.bytes else {
            throw ValueError("\"\(unit)\" is not a unit of size: write KiB, MiB or GiB, as in 16MiB, or plain bytes")
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow else { throw ValueError("\(text) does not fit in 64 bits") }
        return bytes
    }

    /// Bytes for people, in the largest unit that leaves no rest: `16 MiB`, `4097 bytes`.
    static func describe(_ bytes: UInt64) -> String {
        guard bytes > 0, let unit = units.first(where: { bytes.isMultiple(of: $0.bytes) }) else {
            return bytes == 1 ? "1 byte" : "\(bytes) bytes"
        }
        return "\(bytes / unit.bytes) \(unit.name)"
    }
}
