// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Glibc

/// `kvmjob conform`: runs the public single-step vectors of the 8088 on this machine.
struct ConformCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "conform",
        abstract: "Compare single instructions with what an 8088 does.",
        discussion: """
            Runs vectors in the JSON format of SingleStepTests/8088, one job of one step for each, and compares registers, \
            FLAGS and memory. Flags that metadata.json in the vectors' directory has as undefined are not compared, nor are \
            those that are fixed. What is known to differ between an 8088 and later processors is counted by its reason.

            Exit status: 0 if every difference has a known reason, else 1; 126 if vectors cannot be read; 125 for a fault of \
            kvmjob or the host.

            Example: kvmjob conform --limit 100 8088/v2
            """)

    @Argument(
        help: ArgumentHelp("Directories of vectors, or files: .json, or .json.gz.", valueName: "path"),
        completion: .file())
    var paths: [String]

    @OptionGroup(title: "Worker") var worker: WorkerOptions

    @Option(help: ArgumentHelp("The most vectors of each file. (default: all)", valueName: "count"))
    var limit: Int?

    @Flag(help: "One JSON object per opcode on standard output, instead of a table.")
    var json = false

    func validate() throws {
        guard !paths.isEmpty else { throw ValidationError("Name a directory or a file of vectors.") }
        guard limit ?? 1 > 0 else { throw ValidationError("--limit takes 1 or more.") }
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let tally = try await tally(console: console)
            try await console.output.write(text(of: tally))
            return Self.status(of: tally)
        }
    }

    /// Runs all vectors; Ctrl-C stops them.
    func tally(console: Console) async throws -> ConformTally {
        var files: [VectorFile] = []
        for path in paths { files += try VectorFile.find(path) }
        let progress = ConformProgress(messages: isatty(STDERR_FILENO) == 1 ? console.messages : nil)
        return try await ConformRun(files: files, limit: limit, progress: progress).run(on: try worker.choice)
    }

    func text(of tally: ConformTally) -> [UInt8] {
        let report = ConformReport(tally: tally)
        guard json else { return Array(report.lines.joined(separator: "\n").utf8) + [UInt8(ascii: "\n")] }
        return report.objects.flatMap { $0.bytes + [UInt8(ascii: "\n")] }
    }

    static func status(of tally: ConformTally) -> Int32 { tally.total.failed == 0 ? 0 : ExitStatus.failed }
}
