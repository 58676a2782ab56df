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

    @Option(
        help: ArgumentHelp(
            "A worker on another machine, through ssh: ssh://[user@]machine[:port][/socket]; by default $\(RemoteHost.environmentName). kvmjob has to be installed there.",
            valueName: "url"),
        transform: RemoteHost.init)
    var host: RemoteHost?

    @Flag(help: "Run the jobs in this process, with no service. The default where there is no socket.")
    var embedded = false

    func validate() throws {
        let given = [("--socket", socket != nil), ("--host", host != nil), ("--embedded", embedded)].filter(\.1)
        guard given.count <= 1 else {
            throw ValidationError("\(given.map(\.0).joined(separator: " and ")) exclude each other.")
        }
        do { _ = try choice } catch { throw ValidationError(error.message) }
    }

    /// The worker that is meant.
    var choice: WorkerChoice {
        get throws(CommandFailure) {
            do {
                return try WorkerChoice(
                    option: socket, host: host, embedded: embedded,
                    environment: ProcessInfo.processInfo.environment, exists: UnixSocket.exists(path:))
            } catch {
                throw CommandFailure(message: error.description, status: ExitStatus.usage)
            }
        }
    }
}
