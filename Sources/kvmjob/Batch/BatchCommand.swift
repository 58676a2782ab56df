// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Foundation
internal import KVMJobClient

/// `kvmjob batch`: runs the jobs of a manifest.
struct BatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "batch",
        abstract: "Run the jobs of a file, one JSON object a line, and write a line of JSON for each.",
        discussion: """
            A line has the fields that kvmjob submit and kvmjob run have as options, wall_time for --wall-time:

            {"image": "boot.bin", "steps": 100000, "set": {"ax": 2}}
            {"program": ["sort", "-n"], "stdin": "numbers.txt", "cpu_time": "2s", "label": "sorted"}

            Paths are from the manifest's folder. All lines are checked before the first job runs; those of standard input one by one. \
            A results line is what kvmjob submit --json tells, with line, job_id and label in front. A job_id is made of what the \
            job does and of nothing else.
            """)

    @Argument(help: ArgumentHelp("The jobs; - is standard input.", valueName: "file"), completion: .file())
    var manifest: String

    @Option(
        help: ArgumentHelp("Where the results go. (default: standard output)", valueName: "file"), completion: .file())
    var out: String?

    @Option(
        help: ArgumentHelp("The most jobs in flight. (default: as many as the worker takes)", valueName: "count"))
    var jobs: Int?

    @Option(
        help: ArgumentHelp("Write the guests' output to files there, named by job_id.", valueName: "dir"),
        completion: .directory)
    var outputDir: String?

    @OptionGroup(title: "Worker") var worker: WorkerOptions

    func validate() throws {
        guard jobs ?? 1 > 0 else { throw ValidationError("--jobs takes 1 or more.") }
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            let manifest = Manifest(path: self.manifest)
            guard try await check(manifest, console) else { return ExitStatus.cannotRun }
            let results = BatchResults(console.output)
            let loader = try BatchLoader(manifest)
            let feed = BatchFeed { try await loader.next() }
            let (jobs, outputDir) = (jobs, outputDir)
            try await WorkerConnection.with(try worker.choice) { client in
                let engine = LocalEngine(client: client, jobLimit: jobs, outputFolder: outputDir)
                try await engine.run(feed, into: results)
            }
            return await results.tally.exitStatus
        }
    }

    /// - Returns: whether all lines are right; if not, it was told.
    private func check(_ manifest: Manifest, _ console: Console) async throws -> Bool {
        guard !manifest.isStream else { return true }
        guard let report = try await ManifestCheck(manifest).report else { return true }
        await console.say(report.joined(separator: "\n"))
        return false
    }
}
