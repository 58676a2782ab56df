// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser

/// `kvmjob replay`: runs a recorded job again and tells what differs.
struct ReplayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Run recorded jobs again and compare.",
        discussion: """
            Takes what kvmjob submit --deterministic --json wrote: the report of a job, with the job in it. Outcome, steps, \
            registers, output and the digest, which covers memory too, have to be the same again; what is not is told field by field.

            Exit status: 0 if every run was as recorded, 1 if one was not, 126 if a report cannot be read or its job was \
            refused, 125 for a fault of kvmjob or the host.

            Example: kvmjob submit --deterministic --json --hex "b0 21 e6 e9 f4" > run.json && kvmjob replay run.json
            """)

    /// The most runs of a recording: one million.
    static let timesLimit = 1_000_000

    @Argument(
        help: ArgumentHelp("A file with one report, or one on each line; - is standard input.", valueName: "file"),
        completion: .file(extensions: ["json", "jsonl"]))
    var file: String

    @OptionGroup(title: "Worker") var worker: WorkerOptions

    @Option(help: ArgumentHelp("Run each job this often.", valueName: "count"))
    var times = 1

    @Flag(help: "One JSON object for each report on standard output, instead of text.")
    var json = false

    func validate() throws {
        guard (1...Self.timesLimit).contains(times) else {
            throw ValidationError("--times takes 1 to \(Self.timesLimit).")
        }
    }

    /// The recorded jobs of the file.
    ///
    /// - Throws: ``CommandFailure``.
    func recordings() async throws -> [Recording] {
        let name = file == "-" ? "standard input" : file
        do {
            let bytes = try await ByteSource(path: file).readAll(limit: Recording.byteLimit + 1)
            guard bytes.count <= Recording.byteLimit else {
                let limit = SizeText.describe(UInt64(Recording.byteLimit))
                throw CommandFailure(message: "\(name) is larger than \(limit)", status: ExitStatus.cannotRun)
            }
            return try Recording.read(bytes, from: name)
        } catch let reason as SystemReason {
            throw CommandFailure(message: "cannot read \(name): \(reason.text)", status: ExitStatus.cannotRun)
        }
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let replay = Replay(recordings: try await recordings(), times: times, asJSON: json, console: console)
            return try await replay.run(on: try worker.choice)
        }
    }
}
