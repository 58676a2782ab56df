// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel
internal import NIOConcurrencyHelpers

/// `kvmjob wait`: waits for detached jobs.
struct WaitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait",
        abstract: "Wait for the end of detached jobs.",
        discussion: """
            Tells how each ended, in the order in which they are named. A worker that is restarted meanwhile is waited for; the jobs \
            go on with it. Ctrl-C ends the wait, and not the jobs.

            Exit status: of one job what kvmjob submit or kvmjob run would have ended with; of several the worst, as of submit; 1 also \
            for a job that is not kept.

            Example: kvmjob wait $(kvmjob run --detach -- ./long-one)
            """)

    @Argument(
        help: ArgumentHelp("Jobs by the numbers that --detach printed.", valueName: "id"), transform: WholeNumber.parse)
    var ids: [UInt64]

    @Flag(help: "One JSON object per job on standard output, as of submit --json, with the output.")
    var json = false

    @OptionGroup var patience: PatienceOption
    @OptionGroup(title: "Worker") var worker: WorkerOptions

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let connection = PatientConnection(
                choice: try worker.choice.forDetaching(), patience: patience, console: console)
            var worst = ExitStatus(isOnlyJob: false)
            for id in ids {
                let report = try await wait(for: id, over: connection)
                if json { try await console.show(report.json) } else { await console.say(report.verdict) }
                guard ids.count > 1 else { return report.status }
                report.add(to: &worst)
            }
            return worst.code
        }
    }

    private func wait(for id: UInt64, over connection: PatientConnection) async throws -> DetachedReport {
        var request = AttachRequest(id: id)
        request.wantsOutput = json
        let report = NIOLockedValueBox(DetachedReport(id: id))
        let end = try await DetachedListener(request: request, connection: connection).listen { event in
            report.withLockedValue { $0.take(event) }
        }
        if case .result(let result) = end { report.withLockedValue { $0.end(result) } }
        return report.withLockedValue { $0 }
    }
}
