// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Glibc
internal import JobModel
internal import KVMJobClient

/// `kvmjob forget`: drops what is kept of detached jobs.
struct ForgetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget",
        abstract: "Drop the output and the result of detached jobs that have ended.",
        discussion: """
            Their numbers mean nothing any more, and their keys can be used again. A job that has not ended is kept: kvmjob cancel \
            stops it first.

            Exit status: 0; 1 if some job is unknown or has not ended; 125 if no worker answers.
            """)

    @Argument(
        help: ArgumentHelp("Jobs by the numbers that --detach printed.", valueName: "id"), transform: WholeNumber.parse)
    var ids: [UInt64] = []

    @Flag(help: "All of your own that have ended.")
    var ended = false

    @OptionGroup(title: "Worker") var worker: WorkerOptions

    func validate() throws {
        guard ended != !ids.isEmpty else {
            throw ValidationError(
                "Name jobs by their numbers in kvmjob ps --detached, or write --ended: one of the two.")
        }
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let order = self
            let choice = try worker.choice
            let forgotten = try await choice.asking { client, _ in
                let ids = order.ended ? try await order.endedJobs(client, choice) : order.ids
                return JobsForgotten(ids: ids, answers: try await client.forget(ids), isExact: !order.ended)
            }
            await console.say(forgotten.lines.joined(separator: "\n"))
            return forgotten.status
        }
    }

    private func endedJobs(_ client: JobClient, _ choice: WorkerChoice) async throws -> [UInt64] {
        let isOperator = try await client.workerReport().isOperator
        let owner = try CancelCommand.owner(nil, isOperator: isOperator, user: getuid(), on: choice)
        return try await client.detachedJobs().filter { $0.state == .ended && (owner == nil || $0.tenant == owner) }
            .map(\.id)
    }
}

/// What became of jobs that were to be forgotten.
struct JobsForgotten: Sendable {
    let ids: [UInt64]
    let answers: [StopAnswer.JobAnswer]
    /// Whether they were named one by one.
    let isExact: Bool

    var lines: [String] {
        let count = answers.count { $0 == .stopped }
        let rest = zip(ids, answers).compactMap { id, answer -> String? in
            switch answer {
            case .stopped: nil
            case .unknown:
                isExact
                    ? "job \(id) is not kept: see kvmjob ps --detached"
                    : "job \(id) was gone already, or the worker could not write: its log tells"
            case .unfinished: "job \(id) has not ended: kvmjob cancel \(id) stops it, kvmjob wait \(id) waits for it"
            }
        }
        return rest + ["\(count) job\(count == 1 ? "" : "s") forgotten"]
    }

    var status: Int32 { isExact && answers.contains { $0 != .stopped } ? ExitStatus.failed : 0 }
}
