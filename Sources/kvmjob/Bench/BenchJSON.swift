// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A report as one JSON object. Every key is always there; numbers are whole, ratios in thousandths.
struct BenchJSON {
    let report: BenchReport
    /// The image as the user named it.
    let image: String

    var value: JSONValue {
        .object([
            ("worker", worker), ("load", load), ("jobs", .count(report.tally.jobs)),
            ("elapsed_ns", .count(report.nanoseconds)), ("jobs_per_second", .count(UInt64(report.rate))),
            ("latency_ns", latency), ("outcomes", outcomes(report.tally)),
            ("unexpected", .count(report.ends.unexpected)), ("examples", .array(report.ends.examples.map(example))),
            ("floor", floor),
        ])
    }

    private var worker: JSONValue {
        let kind =
            switch report.choice {
            case .socket: "socket"
            case .remote: "remote"
            case .embedded: "embedded"
            }
        return .object([
            ("kind", .string(kind)), ("path", .text(report.choice.place)),
            ("software", .string(report.software)), ("slots", .count(report.slots)),
        ])
    }

    private var load: JSONValue {
        .object([
            ("image", .string(image)), ("image_bytes", .count(report.order.image.bytes.count)),
            ("mode", .string(report.order.spec.mode.name)), ("memory_bytes", .count(report.order.spec.memoryBytes)),
            ("step_budget", .count(report.order.spec.budget.steps)), ("connections", .count(report.connections)),
            ("window", .count(report.order.window)),
        ])
    }

    private var latency: JSONValue {
        let latencies = report.tally.latencies
        let percentiles = Latencies.percentiles.map { _, key, value in
            (key: key, value: JSONValue.count(latencies.value(atPercentile: value)))
        }
        return .object(percentiles + [("max", .count(latencies.maximum))])
    }

    private func outcomes(_ tally: LoadTally) -> JSONValue {
        .object(tally.outcomes.sorted { $0.key < $1.key }.map { ($0.key, .count($0.value)) })
    }

    private func example(_ result: JobResult) -> JSONValue {
        let line = Verdict(report: JobReport(image: image, name: image, end: .ended(result))).line
        return .object([("outcome", .string(result.outcome.name)), ("verdict", .string(line))])
    }

    private var floor: JSONValue {
        guard let threads = report.floorThreads else { return .null }
        func thousandths(_ value: Double?) -> JSONValue { .count(value.map { UInt64(($0 * 1000).rounded()) }) }
        return .object([
            ("threads", .count(threads)), ("slices", .count(report.ratios.count)),
            ("jobs_per_second", .count(BenchReport.median(report.floorRates).map { UInt64($0) })),
            ("ratio_thousandths", thousandths(BenchReport.median(report.ratios))),
            ("ratio_least_thousandths", thousandths(report.ratios.min())),
            ("ratio_most_thousandths", thousandths(report.ratios.max())),
        ])
    }
}
