// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// What is known of one detached job: gathered while listening, told at the end.
struct DetachedReport: Sendable {
    private(set) var report: JobReport
    private var portWrites = PortWriteDecoder()

    init(id: UInt64) {
        report = JobReport(image: "", name: "job \(id)", id: id, end: .lost("it has not ended"))
    }

    mutating func take(_ event: DetachedStream.Event) {
        switch event {
        case .attached(let status):
            let label = status.label.map { ShortText.plain($0) } ?? ""
            (report.image, report.name) = (label, label.isEmpty ? report.name : label)
        case .output(let chunk):
            switch chunk.channel {
            case .console: report.output.append(chunk.bytes)
            case .portWrites: report.portWrites.append(portWrites.feed(chunk.bytes))
            case .standardError, .memory, .trace: break
            }
        case .beganAnew:
            report.output = BoundedList(limit: JobReport.outputLimit)
            report.portWrites = BoundedList(limit: JobReport.portWriteLimit)
            portWrites = PortWriteDecoder()
        }
    }

    mutating func end(_ result: JobResult) {
        report.end = .ended(result)
        if result.program != nil { report.mode = .linux }
    }

    /// Such as `week-7: exited with code 0; 1.2 s`.
    var verdict: String { Verdict(report: report).line }

    /// As of `submit --json`, where `image` and `name` are the label.
    var json: JSONValue {
        var limit: UInt64?
        if case .ended(let result) = report.end, case .exhausted(.steps, let steps, _) = result.outcome {
            limit = steps
        }
        return JSONReport(report: report, stepBudget: limit, listsPortWrites: !report.portWrites.elements.isEmpty).value
    }

    /// What `submit`, or of a program `run`, would have ended with.
    var status: Int32 {
        if case .ended(let result) = report.end, result.program != nil {
            return ProgramEnd(report.end, name: report.name).status
        }
        var status = ExitStatus(isOnlyJob: true)
        status.add(report.end)
        return status.code
    }

    /// What it counts for among several.
    func add(to status: inout ExitStatus) { status.add(report.end) }
}
