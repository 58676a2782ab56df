// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a batch has come to so far.
struct BatchTally: Sendable {
    private(set) var jobs = 0
    /// Results by the names of their outcomes.
    private(set) var outcomes: [String: Int] = [:]
    /// Outcomes that are no success, by name.
    private(set) var failures: [String: Int] = [:]
    /// Of the first results that say nothing about their jobs, which they are and why: ``reasonsLimit``.
    private(set) var reasons: [String] = []
    /// Nanoseconds that guests ran.
    private(set) var wall = Spread()
    private(set) var steps = Spread()
    /// As of `kvmjob submit` with several jobs.
    private(set) var status: Int32 = 0

    /// The most reasons that are told: 5.
    static let reasonsLimit = 5

    mutating func add(_ result: BatchResult) {
        if let reason = result.reason, reasons.count < Self.reasonsLimit {
            reasons.append("line \(result.line): \(result.outcome): \(ShortText.plain(reason))")
        }
        jobs += 1
        outcomes[result.outcome, default: 0] += 1
        if !result.isSuccess { failures[result.outcome, default: 0] += 1 }
        if let nanoseconds = result.wallNanoseconds, nanoseconds > 0 { wall.add(nanoseconds) }
        if let count = result.steps { steps.add(count) }
        status = ExitStatus.worse(status, result.status)
    }
}

/// The least, the middle and the most of many figures, without keeping them.
struct Spread: Sendable {
    private(set) var count = 0
    private(set) var minimum = UInt64.max
    private var figures = Latencies()

    mutating func add(_ figure: UInt64) {
        count += 1
        minimum = min(minimum, figure)
        figures.add(figure)
    }

    var maximum: UInt64 { figures.maximum }
    /// To three digits.
    var median: UInt64 { max(minimum, figures.value(atPercentile: 50)) }
}
