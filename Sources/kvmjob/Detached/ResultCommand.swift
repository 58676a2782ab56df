// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel
internal import JobProtocol
internal import NIOConcurrencyHelpers

/// `kvmjob result`: how a detached job ended.
struct ResultCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "result",
        abstract: "Show how a detached job ended.",
        discussion: """
            Tells what kvmjob submit tells of a job that it waits for, at once; what the job wrote, kvmjob logs shows.

            Exit status: 0 for a job that has ended, however; 1 for one that has not, or is not kept; 125 if no worker answers.
            """)

    @Argument(
        help: ArgumentHelp("A job by the number that --detach printed.", valueName: "id"), transform: WholeNumber.parse)
    var id: UInt64

    @Flag(
        help:
            "Show the end in full: registers, the code around RIP, the stack, the last exits, as far as they were asked for."
    )
    var registers = false

    @Flag(help: "A JSON object on standard output, as of submit --json, with the output.")
    var json = false

    @OptionGroup(title: "Worker") var worker: WorkerOptions

    func validate() throws {
        guard !json || !registers else {
            throw ValidationError("--registers goes without --json, which has all of it.")
        }
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let connection = PatientConnection(
                choice: try worker.choice.forDetaching(), patience: .zero, console: console)
            var request = AttachRequest(id: id)
            (request.follows, request.wantsOutput) = (false, json)
            let found = NIOLockedValueBox(DetachedReport(id: id))
            let end = try await DetachedListener(request: request, connection: connection).listen { event in
                found.withLockedValue { $0.take(event) }
            }
            guard case .result(let result) = end else { return await tell(end, console) }
            found.withLockedValue { $0.end(result) }
            try await show(found.withLockedValue { $0 }, result, console)
            return 0
        }
    }

    private func tell(_ end: DetachedListener.End, _ console: Console) async -> Int32 {
        let state = if case .underWay(let status) = end, status.state == .running { "runs" } else { "waits" }
        await console.say("kvmjob: job \(id) has not ended, it \(state): kvmjob wait \(id) waits for it")
        return ExitStatus.failed
    }

    private func show(_ report: DetachedReport, _ result: JobResult, _ console: Console) async throws {
        guard !json else { return try await console.show(report.json) }
        var lines = [report.verdict]
        if registers {
            lines += RegisterTable(result).lines
            lines +=
                PostMortemText(
                    report: report.report, sections: [.code, .stack, .exits], isBold: console.isTerminal
                ).lines
        }
        try await console.show(lines)
    }
}
