// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Sizes on the command line, such as `64KiB`, `16MiB` and `1GiB`, and sizes told to people.
enum SizeText {
    /// The bytes that a whole number and its unit write; without a unit, bytes.
    static func parse(_ text: String) throws(ValueError) -> UInt64 {
        let (number, unit) = try WholeNumber.parseWithUnit(text)
        guard !unit.isEmpty else { return number }
        guard let factor = SizeUnit.named(unit)?.bytes else {
            throw ValueError("\"\(unit)\" is not a unit of size: write KiB, MiB or GiB, as in 16MiB, or plain bytes")
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow else { throw ValueError("\(text) does not fit in 64 bits") }
        return bytes
    }

    /// Bytes for people, in the largest unit that leaves no rest: `16 MiB`, `4097 bytes`.
    static func describe(_ bytes: UInt64) -> String {
        guard let unit = SizeUnit.dividing(bytes) else {
            return bytes == 1 ? "1 byte" : "\(bytes) bytes"
        }
        return "\(bytes / unit.bytes) \(unit.name)"
    }

    /// Bytes for people who do not care for the last one, in the largest unit that leaves a whole part: `63.3 MiB`, `512 bytes`.
    static func approximate(_ bytes: UInt64) -> String {
        guard let unit = SizeUnit.all.first(where: { bytes >= $0.bytes }) else { return describe(bytes) }
        return "\(ShortText.oneDecimal(bytes, unit.bytes)) \(unit.name)"
    }

    /// That something has this size, and what it may have: `it is 70.3 MiB, larger than 63.3 MiB`. Exact where the rounded sizes
    /// would not tell them apart.
    static func excess(_ bytes: UInt64, limit: UInt64) -> String {
        let (size, most) = (approximate(bytes), approximate(limit))
        guard size != most else { return "it is \(describe(bytes)), larger than \(describe(limit))" }
        return "it is \(size), larger than \(most)"
    }
}
