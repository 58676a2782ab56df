// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Histogram
internal import JobModel

/// How long jobs took from their submission to their result.
struct Latencies: Sendable {
    /// The longest that is told apart: an hour, in nanoseconds. What took longer counts as that long, but for ``maximum``.
    static let longest: UInt64 = 3_600_000_000_000
    /// The percentiles of a report, in hundredths of a percent.
    static let percentiles: [(name: String, key: String, value: Double)] = [
        ("p50", "p50", 50), ("p90", "p90", 90), ("p99", "p99", 99), ("p99.9", "p99_9", 99.9),
    ]

    /// To three digits.
    private var histogram = Histogram<UInt64>(highestTrackableValue: longest, numberOfSignificantValueDigits: .three)
    /// The longest of all in nanoseconds, exactly.
    private(set) var maximum: UInt64 = 0

    mutating func add(_ nanoseconds: UInt64) {
        histogram.record(min(nanoseconds, Self.longest))
        maximum = max(maximum, nanoseconds)
    }

    mutating func add(_ others: Latencies) {
        histogram.add(others.histogram)
        maximum = max(maximum, others.maximum)
    }

    /// The nanoseconds within which this many percent of all jobs ended; 0 where there were none.
    func value(atPercentile percentile: Double) -> UInt64 { min(histogram.valueAtPercentile(percentile), maximum) }
}

/// How a job has to end so that a load counts it as done and not as gone wrong.
struct Expectation: Sendable, Hashable {
    /// The outcome's name; nil is `halted`, or `exited` with code 0.
    var outcome: String?
    /// What it has to write to the console; nil is anything.
    var output: [UInt8]?

    /// The names that an outcome of the guest's own or a budget's can have.
    static let outcomes = ["halted", "exited", "faulted", "triple-fault", "unemulatable"] + exhaustions
    /// Those of them that a budget brings about.
    static let exhaustions = BudgetKind.allCases.map { "\($0.name)-exhausted" }

    func isMet(by outcome: Outcome, _ written: [UInt8]) -> Bool {
        guard output == nil || output == written else { return false }
        if let name = self.outcome { return outcome.name == name }
        return outcome == .halted || outcome == .exited(code: 0)
    }
}

/// What a load has done so far.
struct LoadTally: Sendable {
    /// The most jobs that are shown which did not end as expected.
    static let exampleLimit = 5

    private(set) var latencies = Latencies()
    private(set) var jobs = 0
    /// Jobs by the names of their outcomes.
    private(set) var outcomes: [String: Int] = [:]
    /// Jobs that did not end as expected, or wrote something else.
    private(set) var unexpected = 0
    /// The first of them.
    private(set) var examples: [JobResult] = []
    /// The first result of all.
    private(set) var first: JobResult?

    mutating func add(_ result: JobResult, after nanoseconds: UInt64, isExpected: Bool) {
        latencies.add(nanoseconds)
        jobs += 1
        first = first ?? result
        outcomes[result.outcome.name, default: 0] += 1
        guard !isExpected else { return }
        unexpected += 1
        if examples.count < Self.exampleLimit { examples.append(result) }
    }

    mutating func add(_ other: LoadTally) {
        latencies.add(other.latencies)
        jobs += other.jobs
        outcomes.merge(other.outcomes, uniquingKeysWith: +)
        unexpected += other.unexpected
        first = first ?? other.first
        examples += other.examples.prefix(Self.exampleLimit - examples.count)
    }

    /// The exit status for these jobs.
    var status: Int32 {
        guard unexpected > 0 else { return 0 }
        var status = ExitStatus(isOnlyJob: false)
        for example in examples { status.add(.ended(example)) }
        return ExitStatus.worse(status.code, ExitStatus.failed)
    }
}
