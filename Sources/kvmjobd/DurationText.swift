// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Time spans as options take them, the way unit files write them: "500ms", "45s", "10min", "2h".
enum DurationText {
    /// The longest span that is taken: a year.
    static let maximumSeconds: Int64 = 365 * 24 * 3600

    private static let units: [(name: String, span: Duration)] = [
        ("us", .microseconds(1)), ("ms", .milliseconds(1)), ("s", .seconds(1)), ("min", .seconds(60)),
        ("h", .seconds(3600)),
    ]

    /// The span, or nil if it is not a whole number with a unit, or longer than ``maximumSeconds``.
    static func parse(_ text: String) -> Duration? {
        let digits = text.prefix { ("0"..."9").contains($0) }
        let unit = text.dropFirst(digits.count)
        guard let count = Int64(digits), let span = units.first(where: { $0.name == unit })?.span else { return nil }
        guard count <= maximumCount(of: span) else { return nil }
        return span * count
    }

    private static func maximumCount(of span: Duration) -> Int64 {
        Int64(Duration.seconds(maximumSeconds) / span)
    }
}
