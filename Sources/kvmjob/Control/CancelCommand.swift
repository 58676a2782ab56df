// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Glibc
internal import JobModel
internal import KVMJobClient

/// `kvmjob cancel`: stops jobs by number.
struct CancelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cancel",
        abstract: "Stop jobs, whichever connection they came by.",
        discussion: """
            Their results go to whoever waits for them, as cancelled. Users stop their own jobs, operators everybody's.

            Exit status: 0; 1 if some job is unknown, which is one that has ended or is another user's; 125 if no worker answers.

            Example: kvmjob cancel 1204 1205
            """)

    @Argument(help: ArgumentHelp("Jobs by their numbers in kvmjob ps.", valueName: "job"), transform: WholeNumber.parse)
    var jobs: [UInt64] = []

    @Flag(help: "All of your own jobs; with --tenant, all of that user's.")
    var all = false

    @OptionGroup var tenant: TenantOption
    @OptionGroup(title: "Worker") var worker: WorkerOptions

    func validate() throws {
        guard all != !jobs.isEmpty else {
            throw ValidationError(
                "Name jobs by their numbers in kvmjob ps, or write --all for your own: one of the two.")
        }
        guard all || tenant.tenant == nil else { throw ValidationError("--tenant goes with --all.") }
        guard Set(jobs).count == jobs.count else { throw ValidationError("A job is named twice.") }
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let choice = try worker.choice
            let order = self
            let stop = try await choice.asking { client, _ in
                let ids = order.all ? try await order.ids(client, choice) : order.jobs
                return JobStop(ids: ids, answers: try await client.cancel(jobs: ids), isExact: !order.all)
            }
            await console.say(stop.lines.joined(separator: "\n"))
            return stop.status
        }
    }

    /// The jobs that `--all` means.
    private func ids(_ client: JobClient, _ choice: WorkerChoice) async throws -> [UInt64] {
        let isOperator = try await client.workerReport().isOperator
        let owner = try Self.owner(tenant.tenant, isOperator: isOperator, user: getuid(), on: choice)
        return try await client.jobs().filter { $0.state != .ended && (owner == nil || $0.tenant == owner) }.map(\.id)
    }

    /// Whose jobs `--all` means; nil for all that are seen. An operator sees everybody's, and over ssh the worker knows this user by
    /// another number.
    static func owner(
        _ named: Tenant?, isOperator: Bool, user: UInt32, on choice: WorkerChoice
    ) throws(CommandFailure) -> Tenant? {
        if let named { return named }
        guard isOperator else { return nil }
        guard case .remote = choice else { return .user(user) }
        throw CommandFailure(
            message: "you are an operator there, and see everybody's jobs: say whose with --tenant NUMBER",
            status: ExitStatus.usage)
    }
}

/// What became of some jobs.
struct JobStop: Sendable {
    let ids: [UInt64]
    let answers: [StopAnswer.JobAnswer]
    /// Whether they were named one by one: then one that has just ended is worth a word.
    let isExact: Bool

    private var unknown: [UInt64] { zip(ids, answers).filter { $0.1 == .unknown }.map(\.0) }

    var lines: [String] {
        let stopped = answers.count - unknown.count
        let missing = isExact ? unknown.map { "job \($0) is unknown: it has ended, or is another user's" } : []
        return missing + ["\(stopped) job\(stopped == 1 ? "" : "s") stopped"]
    }

    var status: Int32 { isExact && !unknown.isEmpty ? ExitStatus.failed : 0 }
}
