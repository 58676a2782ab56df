// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Foundation
internal import Glibc
internal import JobModel
internal import KVMJobClient

/// `kvmjob ps`: the jobs that have not ended.
struct PsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ps",
        abstract: "List the jobs that wait, run or are paused.",
        discussion: """
            Users see their own jobs, from whichever connection they came; operators see all. JOB is what kvmjob cancel takes, and \
            KVMJOB_ID in the worker's log. With --detached it lists what was submitted with --detach and is kept, ended or not.

            Exit status: 0, also for no jobs; 125 if no worker answers.
            """)

    @OptionGroup(title: "Worker") var worker: WorkerOptions
    @OptionGroup var tenant: TenantOption

    @Flag(help: "List the jobs that the worker keeps, which were submitted with --detach.")
    var detached = false

    @Flag(help: "One JSON object per job on standard output, instead of a table.")
    var json = false

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let choice = try worker.choice
            let names = TenantNames(for: choice)
            if detached { return try await listDetached(choice, names, console) }
            let jobs = try await choice.asking { client, _ in try await client.jobs() }
            let listed = jobs.filter(tenant.includes)
            if json {
                for job in listed { try await console.show(ListedJobJSON(job: job, names: names).value) }
            } else {
                // Where nobody's terminal ends the line, titles are whole.
                let width = TerminalWindow.standardOutput?.columns ?? .max
                try await console.show(JobTable(jobs: listed, names: names, width: width).lines)
            }
            return 0
        }
    }

    private func listDetached(_ choice: WorkerChoice, _ names: TenantNames, _ console: Console) async throws -> Int32 {
        let jobs = try await choice.asking { client, _ in try await client.detachedJobs() }
        let listed = jobs.filter { job in tenant.tenant.map { $0 == job.tenant } ?? true }
        if json {
            for job in listed { try await console.show(DetachedJobJSON(job: job, names: names).value) }
        } else {
            let width = TerminalWindow.standardOutput?.columns ?? .max
            let now = UInt64(max(0, Date().timeIntervalSince1970))
            try await console.show(DetachedTable(jobs: listed, names: names, now: now, width: width).lines)
        }
        return 0
    }
}

/// Whose jobs are meant.
struct TenantOption: ParsableArguments {
    @Option(
        name: .customLong("tenant"),
        help: ArgumentHelp("Only this user's jobs: a name on this machine, or a number.", valueName: "user"),
        transform: Tenant.init(argument:))
    var tenant: Tenant?

    func includes(_ job: ListedJob) -> Bool { tenant.map { $0 == job.tenant } ?? true }
}
