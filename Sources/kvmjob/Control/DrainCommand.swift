// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import KVMJobClient

/// `kvmjob drain`: has a worker finish and leave.
struct DrainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain",
        abstract: "Have a worker take no more jobs, end those that it has, and leave. For operators.",
        discussion: """
            What its jobs get is kvmjobd's --drain-timeout; what still runs then is cancelled. Under systemd the socket stays: the next \
            connection starts a new worker, such as one of a version that was installed meanwhile. To stay without one: \
            systemctl stop kvmjobd.socket kvmjobd.service.

            Exit status: 0; 1 if you are no operator; 125 if no worker answers.
            """)

    @OptionGroup(title: "Worker") var worker: WorkerOptions

    @Flag(help: "Return when the worker has left.")
    var wait = false

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let waits = wait
            let drains = try await worker.choice.asking { client, _ in
                guard try await client.drainWorker() else { return false }
                if waits {
                    await console.say("the worker ends its jobs; waiting until it has left")
                    try await client.closed()
                }
                return true
            }
            await console.say(Self.line(drains: drains, hasLeft: wait))
            return drains ? 0 : ExitStatus.failed
        }
    }

    static func line(drains: Bool, hasLeft: Bool) -> String {
        guard drains else {
            return
                "kvmjob: only operators may: root, the worker's own user, and those whom its configuration names as operators"
        }
        return hasLeft
            ? "the worker has left; under systemd the next connection starts a new one"
            : "the worker takes no more jobs and leaves when those that it has are over; under systemd the next connection then "
                + "starts a new one"
    }
}
