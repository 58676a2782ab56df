// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a batch has come to, for people.
struct BatchSummary {
    let tally: BatchTally
    /// Jobs that were left out, since their results were there.
    var skipped = 0
    /// Nanoseconds from the first job to the last result.
    var nanoseconds: UInt64

    var lines: [String] {
        [headline] + (tally.jobs == 0 ? [] : outcomes) + tally.reasons + spreads
    }

    private var headline: String {
        let rate = nanoseconds > 0 && tally.jobs > 0 ? ", \(Self.rate(tally.jobs, nanoseconds)) jobs/s" : ""
        let had = skipped > 0 ? "; \(skipped) had their results before" : ""
        return "kvmjob: \(tally.jobs) job\(tally.jobs == 1 ? "" : "s") in "
            + "\(DurationText.long(nanoseconds: nanoseconds))\(rate)\(had)"
    }

    private var outcomes: [String] {
        let rows = tally.outcomes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { name, count in
            [name, String(count), share(count)]
        }
        return AlignedColumns(rows: [["OUTCOME", "JOBS", "SHARE"]] + rows, right: [1, 2]).lines
    }

    private func share(_ count: Int) -> String {
        "\(ShortText.oneDecimal(UInt64(count) * 100_000 / UInt64(tally.jobs), 1000)) %"
    }

    private var spreads: [String] {
        var rows: [[String]] = []
        if tally.wall.count > 0 { rows.append(["wall time"] + Self.row(tally.wall, DurationText.short)) }
        if tally.steps.count > 0 { rows.append(["steps"] + Self.row(tally.steps, ShortText.count)) }
        guard !rows.isEmpty else { return [] }
        return AlignedColumns(rows: [["", "LEAST", "MEDIAN", "MOST"]] + rows, right: [1, 2, 3]).lines
    }

    private static func row(_ spread: Spread, _ text: (UInt64) -> String) -> [String] {
        [spread.minimum, spread.median, spread.maximum].map(text)
    }

    static func rate(_ jobs: Int, _ nanoseconds: UInt64) -> String {
        let perSecond = Double(jobs) / (Double(nanoseconds) / 1e9)
        return ShortText.oneDecimal(UInt64((perSecond * 1000).rounded()), 1000)
    }
}
