// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Foundation
internal import Glibc
internal import JobModel
internal import JobTransport

/// `kvmjob dial-stdio`: the far end of `kvmjob --host`.
struct DialCommand: AsyncParsableCommand {
    /// The name by which the near end calls it.
    static let name = "dial-stdio"
    /// How long a worker may take to say its first word: 5 s, as long as a client that is there itself waits.
    private static let patience = Duration.seconds(5)

    static let configuration = CommandConfiguration(
        commandName: name,
        abstract: "Connect standard input and output to this machine's worker: the far end of --host.",
        discussion: """
            Copies what comes on standard input to the worker's socket, and what the worker says to standard output, until both have \
            ended. kvmjob --host ssh://machine runs it there by ssh; for the worker, the jobs are those of the user whom ssh logs in.

            Exit status: 0, or 125 if no worker answers.
            """)

    @Option(
        help: ArgumentHelp(
            "The worker's socket; by default $\(WorkerChoice.environmentName), else \(WorkerChoice.defaultPath).",
            valueName: "path"))
    var socket: String?

    /// Where the worker is.
    func path(environment: [String: String]) -> String {
        let variable = environment[WorkerChoice.environmentName].flatMap { $0.isEmpty ? nil : $0 }
        return socket ?? variable ?? WorkerChoice.defaultPath
    }

    func run() async throws {
        let path = path(environment: ProcessInfo.processInfo.environment)
        throw try await ExitCode(telling: .standard) {
            try await WorkerConnection.telling {
                let relay = try StreamRelay(path: path)
                guard relay.hears(within: Self.patience) else {
                    throw CommandFailure(
                        message:
                            "the worker at \(path) said nothing for "
                            + "\(DurationText.describe(nanoseconds: Self.patience.wholeNanoseconds)): it may have "
                            + "failed to start, which its log tells (journalctl -u kvmjobd), or be shutting down",
                        status: ExitStatus.broken)
                }
                try await relay.run(input: STDIN_FILENO, output: STDOUT_FILENO)
            }
            return 0
        }
    }
}
