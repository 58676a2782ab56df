// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What came of running one recorded job again.
///
/// As JSON one object, every key always there:
///
/// | key | value |
/// |---|---|
/// | `name` | the job's name |
/// | `same` | whether every run was as recorded; null where a run failed |
/// | `repeatable` | false for a recorded outcome that comes from the clock, a person or the host, such as `wall-time-exhausted` |
/// | `runs`, `different_runs` | how many runs there were, and how many of them differed |
/// | `differences` | of the first run that differed, at most ``ReportDifference/limit``: `field`, `recorded`, `repeated` |
/// | `error` | why the job could not be run again, or null |
struct ReplayFinding {
    private let recording: Recording
    private(set) var runs = 0
    private(set) var differentRuns = 0
    /// Those of the first run that differed.
    private(set) var differences: [ReportDifference] = []
    /// A run that was no run: refused, lost, or ended by the host.
    private var failure: (message: String, status: Int32)?

    init(recording: Recording) { self.recording = recording }

    /// Takes one run into account. Returns false where more of them make no sense.
    mutating func add(_ report: JobReport) -> Bool {
        switch report.end {
        case .refused(let rejection): failure = ("refused: \(rejection.message)", ExitStatus.cannotRun)
        case .lost(let message): failure = ("lost: \(message)", ExitStatus.broken)
        case .ended(let result):
            if case .hostError(let text) = result.outcome { failure = ("host-error: \(text)", ExitStatus.broken) }
        }
        guard failure == nil else { return false }
        runs += 1
        let spec = recording.job.spec
        let json = JSONReport(
            report: report, stepBudget: spec.budget.steps, listsPortWrites: spec.reportsPortWrites)
        let found = ReportDifference.between(recording.report, json.value)
        if differentRuns == 0 { differences = found }
        differentRuns += found.isEmpty ? 0 : 1
        return true
    }

    var status: Int32 { failure?.status ?? (differentRuns > 0 ? ExitStatus.failed : 0) }

    // MARK: For people

    var text: String {
        ([verdict] + differences.prefix(ReportDifference.limit).map(Self.line) + more + doubts).joined(separator: "\n")
    }

    private var verdict: String {
        if let failure { return "\(recording.name): \(failure.message)" }
        let count = runs == 1 ? "" : ", \(runs) runs"
        guard differentRuns > 0 else {
            let digest = recording.report["digest"]?.string.map { "; digest \($0.prefix(16))" } ?? ""
            return "\(recording.name): same: \(recording.outcome)\(digest)\(count)"
        }
        return "\(recording.name): different" + (runs == 1 ? ":" : " in \(differentRuns) of \(runs) runs; the first:")
    }

    private static func line(_ difference: ReportDifference) -> String {
        "  \(difference.field): \(difference.recorded) -> \(difference.repeated)"
    }

    private var more: [String] {
        let rest = differences.count - ReportDifference.limit
        return rest > 0 ? ["  and \(rest) more"] : []
    }

    private var doubts: [String] {
        guard !recording.isRepeatable, failure == nil else { return [] }
        return ["  \(recording.outcome) comes from outside the guest: such an end cannot be expected to repeat"]
    }

    // MARK: For programs

    var json: JSONValue {
        .object([
            ("name", .string(recording.name)), ("same", failure == nil ? .bool(differentRuns == 0) : .null),
            ("repeatable", .bool(recording.isRepeatable)), ("runs", .count(runs)),
            ("different_runs", .count(differentRuns)),
            ("differences", .array(differences.prefix(ReportDifference.limit).map(Self.describe))),
            ("error", .text(failure?.message)),
        ])
    }

    private static func describe(_ difference: ReportDifference) -> JSONValue {
        .object([
            ("field", .string(difference.field)), ("recorded", .string(difference.recorded)),
            ("repeated", .string(difference.repeated)),
        ])
    }
}
