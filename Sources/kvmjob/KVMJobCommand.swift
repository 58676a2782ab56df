// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel
internal import JobTransport

/// `kvmjob`: the command line.
@main
struct KVMJobCommand: AsyncParsableCommand {
    static let version = Release.version

    static let configuration = CommandConfiguration(
        commandName: "kvmjob",
        abstract: "Run programs and guest images, each in a virtual machine of its own, within budgets.",
        version: "kvmjob \(version)",
        subcommands: [
            RunCommand.self, PythonCommand.self, SubmitCommand.self, BatchCommand.self, ReportCommand.self,
            WaitCommand.self, LogsCommand.self, ResultCommand.self, ForgetCommand.self, SnapshotCommand.self,
            InspectCommand.self, ReplayCommand.self, BenchCommand.self, ConformCommand.self,
            StatusCommand.self, PsCommand.self, TopCommand.self, CancelCommand.self,
            DrainCommand.self, DoctorCommand.self, WorkerCommand.self, DialCommand.self,
        ])

    static func main() async {
        StandardStreams.open()
        UnixSocket.ignoreBrokenPipes()
        let words = LeadingOptions.moved(Array(CommandLine.arguments.dropFirst()))
        guard let run = RunLine.command(of: words) else { return await main(words) }
        do { try await run.run() } catch { exit(withError: error) }
    }
}
