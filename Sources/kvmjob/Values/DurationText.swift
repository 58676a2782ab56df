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

    /// Nanoseconds that may be many: up to two minutes as ``describe(nanoseconds:)``, then `12 min`, `3 h 20 min`, `2 d 4 h`.
    static func long(nanoseconds: UInt64) -> String {
        let minutes = nanoseconds / 60_000_000_000
        guard minutes >= 2 else { return describe(nanoseconds: nanoseconds) }
        let (hours, days) = (minutes / 60, minutes / 1440)
        if hours == 0 { return "\(minutes) min" }
        if days == 0 { return "\(hours) h" + (minutes % 60 == 0 ? "" : " \(minutes % 60) min") }
        return "\(days) d" + (hours % 24 == 0 ? "" : " \(hours % 24) h")
    }

    /// At most seven characters: `1.2 ms`, `100 s`, `12 min`, `3.3 h`, `120 d`.
    static func short(nanoseconds: UInt64) -> String {
        let minute: UInt64 = 60_000_000_000
        guard nanoseconds >= 100 * minute / 60 else { return describe(nanoseconds: nanoseconds) }
        if nanoseconds < 100 * minute {
            return nanoseconds < 2 * minute ? describe(nanoseconds: nanoseconds) : "\(nanoseconds / minute) min"
        }
        if nanoseconds < 100 * 60 * minute { return "\(ShortText.oneDecimal(nanoseconds, 60 * minute)) h" }
        return "\(nanoseconds / (1440 * minute)) d"
    }
}
