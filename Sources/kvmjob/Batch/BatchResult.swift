// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What became of one line: the JSON object that stands for it in the results, and what is counted of it.
///
/// The object is that of ``JSONReport`` with these keys in front:
///
/// | key | value |
/// |---|---|
/// | `line` | where the line stands in the manifest, the first being 1 |
/// | `job_id` | see ``JobIdentity``; null of a line that is no job |
/// | `label` | as in the line, or null |
/// | `output_file`, `stderr_file` | with `--output-dir`: where the guest's output is; else null |
struct BatchResult: Sendable, Hashable {
    var line: Int
    var id: String?
    /// The name of the outcome, `refused` or `lost`.
    var outcome: String
    /// What it makes of the status of the whole batch: see ``ExitStatus``.
    var status: Int32
    /// Whether another run of the job would come to the same. It would not where the host, the worker or a file failed, or where
    /// the job was stopped with its connection.
    var isFinal: Bool
    var wallNanoseconds: UInt64?
    var steps: UInt64?
    /// Why it has no end of its own: of one that was refused or lost, or that the host broke.
    var reason: String?
    /// The worker's number for the job, of one that it keeps.
    var detachedID: UInt64?
    /// The object and a newline.
    var bytes: [UInt8]

    /// - Parameter files: where the job's output is, if not in the report.
    init(_ job: BatchJob, _ report: JobReport, files: OutputFiles? = nil) {
        let json = JSONReport(
            report: report, stepBudget: job.spec.budget.steps, listsPortWrites: job.spec.reportsPortWrites)
        self.init(line: job.line, id: job.id, label: job.label, report: json, files: files)
    }

    /// A job that was handed over, and has no end yet. Its object has `line`, `job_id`, `label`, `image`, `outcome`, which is
    /// ``handedOver``, `id`, the worker's number, and `repeated`, which says whether the worker had the job before.
    init(_ job: BatchJob, _ acceptance: Acceptance) {
        (line, id, outcome, status, isFinal) = (job.line, job.id, Self.handedOver, 0, false)
        let object: JSONReport.Members = [
            ("line", .count(line)), ("job_id", .text(id)), ("label", .text(job.label)), ("image", .string(job.image)),
            ("outcome", .string(outcome)), ("id", .count(acceptance.id)), ("repeated", .bool(acceptance.isRepeated)),
        ]
        bytes = JSONValue.object(object).bytes + [UInt8(ascii: "\n")]
    }

    /// What stands for the outcome of a job that was handed over.
    static let handedOver = "detached"

    /// A line of a stream that is no job.
    init(_ problem: ManifestProblem) {
        let report = JobReport(
            image: "", name: "line \(problem.line)",
            end: .refused(Rejection(code: Self.manifestCode, message: problem.text)))
        self.init(
            line: problem.line, id: nil, label: nil,
            report: JSONReport(report: report, stepBudget: nil, listsPortWrites: false))
    }

    /// A line whose files could not be read.
    init(_ line: ManifestLine, _ rejection: Rejection) {
        let report = JobReport(
            image: line.image, name: line.label ?? line.image, end: .refused(rejection))
        self.init(
            line: line.number, id: nil, label: line.label,
            report: JSONReport(report: report, stepBudget: line.spec.budget.steps, listsPortWrites: false))
    }

    /// The `code` of a line that is no job.
    static let manifestCode = "manifest"

    private init(line: Int, id: String?, label: String?, report: JSONReport, files: OutputFiles? = nil) {
        let end = report.report.end
        (self.line, self.id, outcome, status) = (line, id, end.name, ExitStatus.status(of: end))
        if case .ended(let result) = end { (wallNanoseconds, steps) = (result.wallNanoseconds, result.steps) }
        isFinal = id != nil && end.isFinal
        reason = end.reason
        let front: JSONReport.Members = [
            ("line", .count(line)), ("job_id", .text(id)), ("label", .text(label)),
            ("output_file", .text(files?.output)), ("stderr_file", .text(files?.errors)),
        ]
        bytes = JSONValue.object(front + report.members).bytes + [UInt8(ascii: "\n")]
    }

    /// A line that was written before, or elsewhere.
    ///
    /// - Parameter text: without the newline.
    /// - Throws: ``JSONProblem`` for what is no results line.
    init(text: [UInt8]) throws(JSONProblem) {
        let node = try JSONLineParser.parse(text)
        guard case .number(let line)? = node["line"]?.value, let line = Int(exactly: line),
            let outcome = node["outcome"]?.string, let id = node["job_id"]
        else {
            throw JSONProblem(message: "a results line has \"line\", \"job_id\" and \"outcome\"", offset: 0)
        }
        (self.line, self.id, self.outcome, bytes) = (line, id.string, outcome, text + [UInt8(ascii: "\n")])
        reason = node["error"]?["message"]?.string ?? node["host_error"]?.string
        wallNanoseconds = node["wall_ns"]?.number
        steps = node["steps"]?["used"]?.number
        let recorded = RecordedEnd(node, outcome: outcome)
        status = recorded.status
        isFinal = self.id != nil && recorded.isFinal
    }

    var isSuccess: Bool { status == 0 }
}

extension JobEnd {
    /// See ``BatchResult/reason``.
    fileprivate var reason: String? {
        switch self {
        case .lost(let message): message
        case .refused(let rejection): rejection.message
        case .ended(let result): if case .hostError(let text) = result.outcome { text } else { nil }
        }
    }

    /// See ``BatchResult/isFinal``.
    fileprivate var isFinal: Bool {
        switch self {
        case .lost: return false
        case .refused(let rejection): return !rejection.isRetryable
        case .ended(let result):
            switch result.outcome {
            case .hostError, .cancelled(by: .client), .cancelled(by: .disconnect), .cancelled(by: .drain),
                .waitExpired:
                return false
            case .halted, .exited, .faulted, .tripleFault, .unemulatable, .exhausted, .cancelled, .snapshotTaken:
                return true
            }
        }
    }
}

/// How a job ended, as a results line tells it.
private struct RecordedEnd {
    let status: Int32
    let isFinal: Bool

    init(_ node: JSONNode, outcome: String) {
        let canceller = node["cancelled"]?["by"]?.string
        switch outcome {
        case "halted", "snapshot-taken": (status, isFinal) = (0, true)
        case "exited": (status, isFinal) = (node["code"]?.number == 0 ? 0 : ExitStatus.failed, true)
        case "cancelled":
            status = canceller == Canceller.drain.name ? ExitStatus.broken : ExitStatus.failed
            isFinal = [Canceller.user.name, Canceller.operator.name].contains(canceller)
        case "wait-expired": (status, isFinal) = (ExitStatus.budgetReached, false)
        case BatchResult.handedOver: (status, isFinal) = (0, false)
        case "host-error", "lost": (status, isFinal) = (ExitStatus.broken, false)
        case "refused":
            status = ExitStatus.cannotRun
            isFinal = node["error"]?["retryable"]?.value != .bool(true)
        case let name:
            status = name.hasSuffix("-exhausted") ? ExitStatus.budgetReached : ExitStatus.failed
            isFinal = true
        }
    }
}
