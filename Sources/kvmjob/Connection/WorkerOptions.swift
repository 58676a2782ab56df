// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Foundation
internal import JobTransport

/// The options that say which worker is meant; the same for every subcommand.
struct WorkerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The worker's socket; by default $\(WorkerChoice.environmentName), else \(WorkerChoice.defaultPath).",
            valueName: "path"))
    var socket: String?

    @Flag(help: "Run the jobs in this process, with no service. The default where there is no socket.")
    var embedded = false

    func validate() throws {
        guard socket == nil || !embedded else { throw ValidationError("--socket and --embedded exclude each other.") }
    }

    var choice: WorkerChoice {
        WorkerChoice(
            option: socket, embedded: embedded, environment: ProcessInfo.processInfo.environment,
            exists: UnixSocket.exists(path:))
    }
}
