// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel
internal import KVMJobClient

/// `kvmjob logs`: a detached job's output.
struct LogsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs",
        abstract: "Show what a detached job has written.",
        discussion: """
            What the job wrote to its console or standard output comes out of standard output, and a program's standard error out of \
            standard error. With --follow it goes on until the job ends, through a worker's restart too: each byte comes once. If the \
            worker's end cut a run short, the job begins anew, which is told, and so does its output.

            Exit status: 0; 1 if no such job is kept; 125 if no worker answers.

            Example: kvmjob logs --follow 1204
            """)

    @Argument(
        help: ArgumentHelp("A job by the number that --detach printed.", valueName: "id"), transform: WholeNumber.parse)
    var id: UInt64

    @Flag(name: .shortAndLong, help: "Go on until the job ends.")
    var follow = false

    @Option(
        help: ArgumentHelp("Leave out so many bytes of the console, or of standard output.", valueName: "byte"),
        transform: SizeText.parse)
    var from: UInt64 = 0

    @OptionGroup var patience: PatienceOption
    @OptionGroup(title: "Worker") var worker: WorkerOptions

    var request: AttachRequest {
        var request = AttachRequest(id: id)
        request.follows = follow
        if from > 0 { request.offsets = [.console: from] }
        return request
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let connection = PatientConnection(
                choice: try worker.choice.forDetaching(), patience: patience, console: console)
            let id = id
            _ = try await DetachedListener(request: request, connection: connection).listen { event in
                try await Self.show(event, of: id, console)
            }
            return 0
        }
    }

    private static func show(_ event: DetachedStream.Event, of id: UInt64, _ console: Console) async throws {
        switch event {
        case .attached: break
        case .beganAnew:
            await console.say(
                "kvmjob: job \(id) was cut short by the worker's end and began anew; its output follows from the start")
        case .output(let chunk):
            switch chunk.channel {
            case .console: try await console.output.write(chunk.bytes)
            case .standardError: try? await console.messages.write(chunk.bytes)
            case .portWrites, .memory, .trace: break
            }
        }
    }
}
