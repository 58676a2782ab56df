// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A report for people.
struct BenchText {
    let report: BenchReport
    /// The image as the user named it.
    let image: String

    var lines: [String] {
        guard report.tally.jobs > 0 else { return heading + ["", "Nothing was measured."] + unexpected }
        var rows = [
            [
                "jobs",
                "\(Self.grouped(report.tally.jobs)) in \(DurationText.describe(nanoseconds: report.nanoseconds))",
            ],
            ["jobs/s", Self.grouped(Int(report.rate))], ["latency", latency], ["outcomes", outcomes],
        ]
        if let floor { rows.append(["floor", floor]) }
        return heading + [""] + AlignedColumns(rows: rows).lines + unexpected
    }

    private var heading: [String] {
        let place = report.choice.place.map { " at \($0)" } ?? ""
        let slots = report.slots == 0 ? "" : ": \(Self.count(report.slots, "slot"))"
        let spec = report.order.spec
        return [
            "\(report.software)\(place)\(slots)",
            [
                Self.count(report.connections, "connection"), "window \(report.order.window)",
                "\(image) (\(SizeText.describe(UInt64(report.order.image.bytes.count))))", spec.mode.name,
                SizeText.describe(spec.memoryBytes),
            ].joined(separator: ", "),
        ]
    }

    private var latency: String {
        let latencies = report.tally.latencies
        let percentiles = Latencies.percentiles.map { name, _, value in
            "\(name) \(DurationText.describe(nanoseconds: latencies.value(atPercentile: value)))"
        }
        return (percentiles + ["max \(DurationText.describe(nanoseconds: latencies.maximum))"]).joined(separator: "  ")
    }

    private var outcomes: String {
        let counts = report.tally.outcomes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        return counts.map { "\($0.key) \(Self.grouped($0.value))" }.joined(separator: ", ")
    }

    private var floor: String? {
        guard let threads = report.floorThreads else { return nil }
        guard let rate = BenchReport.median(report.floorRates), let ratio = BenchReport.median(report.ratios) else {
            return "not measured: the load was stopped before"
        }
        let range = "\(Self.ratio(report.ratios.min() ?? ratio))-\(Self.ratio(report.ratios.max() ?? ratio))"
        return "\(Self.grouped(Int(rate))) jobs/s by a C loop on \(Self.count(threads, "thread")); worker / floor "
            + "\(Self.ratio(ratio)) (\(range), \(Self.count(report.ratios.count, "slice")))"
    }

    /// The jobs that went wrong, those of the warm-up too.
    private var unexpected: [String] {
        let ends = report.ends
        guard ends.unexpected > 0 else { return [] }
        let shown = ends.examples.map { result in
            "  " + Verdict(report: JobReport(image: image, name: image, end: .ended(result))).line
        }
        let rest = ends.unexpected > shown.count ? ["  ..."] : []
        return ["", "\(Self.count(ends.unexpected, "job")) did not end as expected:"] + shown + rest
    }

    /// A number with a comma between each three digits: `66,204`.
    static func grouped(_ number: Int) -> String {
        let digits = String(number)
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index).isMultiple(of: 3) { text += "," }
            text.append(digit)
        }
        return text
    }

    /// `1 slot`, `2 slots`.
    private static func count(_ number: Int, _ noun: String) -> String {
        "\(grouped(number)) \(noun)\(number == 1 ? "" : "s")"
    }

    /// Two decimals.
    private static func ratio(_ value: Double) -> String {
        let hundredths = Int((value * 100).rounded())
        return "\(hundredths / 100).\(hundredths / 10 % 10)\(hundredths % 10)"
    }
}
