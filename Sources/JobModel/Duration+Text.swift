// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension Duration {
    /// The units in which people write durations, in nanoseconds: `300ms`, `10s`, `2m`.
    public static let nanosecondsPerUnit: [String: UInt64] = [
        "ns": 1, "us": 1000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "min": 60_000_000_000,
        "h": 3_600_000_000_000,
    ]

    /// The duration that a whole number and a unit write, or nil if that is not what the text is, or if it is longer than
    /// nanoseconds in 63 bits hold, some 292 years.
    public init?(text: String) {
        let digits = text.prefix { ("0"..."9").contains($0) }
        guard let count = UInt64(digits), let factor = Self.nanosecondsPerUnit[String(text.dropFirst(digits.count))]
        else {
            return nil
        }
        let (nanoseconds, overflow) = count.multipliedReportingOverflow(by: factor)
        guard !overflow, nanoseconds <= Int64.max else { return nil }
        self.init(wholeNanoseconds: nanoseconds)
    }
}
