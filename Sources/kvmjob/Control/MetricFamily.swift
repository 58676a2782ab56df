// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A number in metrics. Nanoseconds are told in seconds, every one of them.
enum MetricValue: Sendable, Hashable {
    case whole(UInt64)
    case nanoseconds(UInt64)

    /// In decimal, without a rest of zeros: `12`, `0.25`, `1.0` for what is not counted but measured.
    var text: String {
        switch self {
        case .whole(let number): return String(number)
        case .nanoseconds(let number):
            let (seconds, rest) = number.quotientAndRemainder(dividingBy: 1_000_000_000)
            var digits = String(repeating: "0", count: 9 - String(rest).count) + String(rest)
            while digits.count > 1, digits.hasSuffix("0") { digits.removeLast() }
            return "\(seconds).\(digits)"
        }
    }
}

/// One point of a metric family.
struct MetricPoint: Sendable {
    /// What stands behind the family's name: `_total`, `_bucket`.
    var suffix = ""
    var labels: [(name: String, value: String)] = []
    var value: MetricValue

    init(_ labels: [(String, String)] = [], _ value: MetricValue) {
        (self.labels, self.value) = (labels.map { (name: $0.0, value: $0.1) }, value)
    }

    init(_ value: MetricValue) { self.value = value }

    init(_ number: some BinaryInteger) { value = .whole(UInt64(number)) }

    init(_ labels: [(String, String)], _ number: Int) { self.init(labels, .whole(UInt64(number))) }

    fileprivate func line(_ family: String) -> String {
        let list = labels.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",")
        return "\(family)\(suffix)\(list.isEmpty ? "" : "{\(list)}") \(value.text)\n"
    }

    /// A label's value, in which backslash, quote and newline are written behind a backslash.
    static func escaped(_ text: String) -> String {
        text.unicodeScalars.reduce(into: "") { escaped, scalar in
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
    }
}

/// Metrics of one name, as OpenMetrics has them: what they are, then their points.
struct MetricFamily: Sendable {
    private let name: String
    private let type: String
    private let unit: String?
    private let help: String
    private let points: [MetricPoint]

    static func gauge(_ name: String, _ help: String, unit: String? = nil, _ points: [MetricPoint]) -> MetricFamily {
        MetricFamily(name: name, type: "gauge", unit: unit, help: help, points: points)
    }

    /// - Parameter name: without `_total`.
    static func counter(_ name: String, _ help: String, unit: String? = nil, _ points: [MetricPoint]) -> MetricFamily {
        let points = points.map { point in
            var point = point
            point.suffix = "_total"
            return point
        }
        return MetricFamily(name: name, type: "counter", unit: unit, help: help, points: points)
    }

    /// - Parameter name: ends with `_seconds`.
    static func histogram(_ name: String, _ help: String, _ histogram: TimeHistogram) -> MetricFamily {
        let buckets = histogram.cumulative.map { bound, count in
            var point = MetricPoint([("le", bound.map { MetricValue.nanoseconds($0).text } ?? "+Inf")], .whole(count))
            point.suffix = "_bucket"
            return point
        }
        var (sum, count) = (
            MetricPoint(.nanoseconds(histogram.sum)), MetricPoint(histogram.cumulative.last?.count ?? 0)
        )
        (sum.suffix, count.suffix) = ("_sum", "_count")
        return MetricFamily(name: name, type: "histogram", unit: "seconds", help: help, points: buckets + [sum, count])
    }

    var text: String {
        "# TYPE \(name) \(type)\n" + (unit.map { "# UNIT \(name) \($0)\n" } ?? "") + "# HELP \(name) \(help)\n"
            + points.map { $0.line(name) }.joined()
    }
}
