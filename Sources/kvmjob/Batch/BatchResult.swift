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
struct BatchResult: Sendable {
    var line: Int
    var id: String?
    /// The name of the outcome, `refused` or `lost`.
    var outcome: String
    /// What it means for the status of the whole batch.
    var end: JobEnd
    /// The object and a newline.
    var bytes: [UInt8]

    /// - Parameter files: where the job's output is, if not in the report.
    init(_ job: BatchJob, _ report: JobReport, files: OutputFiles? = nil) {
        let json = JSONReport(
            report: report, stepBudget: job.spec.budget.steps, listsPortWrites: job.spec.reportsPortWrites)
        self.init(line: job.line, id: job.id, label: job.label, report: json, files: files)
    }

    /// A line of a stream that is no job.
    init(_ problem: ManifestProblem) {
        let report = JobReport(
            image: "", name: "line \(problem.line)", end: .refused(Rejection(code: "manifest", message: problem.text)))
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

    private init(line: Int, id: String?, label: String?, report: JSONReport, files: OutputFiles? = nil) {
        (self.line, self.id, end) = (line, id, report.report.end)
        outcome = end.name
        let front: JSONReport.Members = [
            ("line", .count(line)), ("job_id", .text(id)), ("label", .text(label)),
            ("output_file", .text(files?.output)), ("stderr_file", .text(files?.errors)),
        ]
        bytes = JSONValue.object(front + report.members).bytes + [UInt8(ascii: "\n")]
    }
}
