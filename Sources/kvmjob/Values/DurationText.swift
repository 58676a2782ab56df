// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Durations on the command line, such as `300ms`, `10s` and `2m`, and durations told to people.
enum DurationText {
    /// The duration that a whole number and its unit write; at most what nanoseconds in 63 bits hold, 292 years.
    static func parse(_ text: String) throws(ValueError) -> Duration {
        let (number, unit) = try WholeNumber.parseWithUnit(text)
        guard let factor = Duration.nanosecondsPerUnit[unit] else {
            throw ValueError(
                unit.isEmpty
                    ? "\(text) has no unit: write ns, us, ms, s, m or h behind it, as in 10s"
                    : "\"\(unit)\" is not a unit of time: write a whole number and ns, us, ms, s, m or h, as in 300ms")
        }
        let (nanoseconds, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow, let nanoseconds = Int64(exactly: nanoseconds) else {
            throw ValueError("\(text) is longer than 292 years")
        }
        return .nanoseconds(nanoseconds)
    }

    /// Nanoseconds for people, in the largest unit that leaves a whole part, with a decimal below 100: `1.2 ms`.
    static func describe(nanoseconds: UInt64) -> String {
        let scale: [(factor: UInt64, unit: String)] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1000, "us")]
        guard let (factor, unit) = scale.first(where: { nanoseconds >= $0.factor }) else { return "\(nanoseconds) ns" }
        let whole = nanoseconds / factor
        let tenth = nanoseconds % factor / (factor / 10)
        return whole < 100 && tenth > 0 ? "\(whole).\(tenth) \(unit)" : "\(whole) \(unit)"
    }
}
