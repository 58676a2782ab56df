// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import Foundation
internal import Glibc
internal import JobModel
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

            Fields of an image's line: \(ManifestField.names(of: .image)). Of a program's: \(ManifestField.names(of: .program)). Of both: \
            \(ManifestField.names(of: nil)). They are the options of kvmjob submit and kvmjob run, but for label, which is yours, and \
            stdin_text, which is the input itself; program is a list of words, env and file are objects.

            Paths are from the manifest's folder. All lines are checked before the first job runs; those of standard input one by one, \
            where a wrong line is refused and the batch goes on. A results line is what kvmjob submit --json tells, with line, job_id and \
            label in front. A job_id is made of what the job does and of nothing else. Ctrl-C stops the batch, and --resume goes on with \
            it, as after a crash: each job_id is in the results once.

            With --detach the worker keeps the jobs: hand them over, switch off, and have the results later with --attach, \
            from the same manifest.

            Exit status, the worst of all jobs: 0; 1 for a failure of a guest; 124 if a budget ended one; 126 for a line that is wrong or \
            was refused; 125 for a fault of kvmjob or the host, or a lost worker; 130 for Ctrl-C.
            """)

    @Argument(help: ArgumentHelp("The jobs; - is standard input.", valueName: "file"), completion: .file())
    var manifest: String

    @Option(
        help: ArgumentHelp(
            "Where the results go; a file that has some is left alone. (default: standard output)", valueName: "file"),
        completion: .file())
    var out: String?

    @Flag(help: "Go on with the results in --out: run what has none, or only one that says nothing about the job.")
    var resume = false

    @Flag(help: "Run what has no result in --out, or one that is no success.")
    var onlyFailed = false

    @Flag(help: "Drop the results that are in --out.")
    var force = false

    @Flag(help: "Write the results in the manifest's order.")
    var ordered = false

    @Option(
        help: ArgumentHelp(
            "Write the guests' output to files there, named by job_id, and not into the results.", valueName: "dir"),
        completion: .directory)
    var outputDir: String?

    @Option(
        help: ArgumentHelp(
            "Make a page of all results in --out at the end, as kvmjob report does.", valueName: "file"),
        completion: .file(extensions: ["html"]))
    var html: String?

    @Option(
        help: ArgumentHelp("The most jobs in flight. (default: as many as the worker takes)", valueName: "count"))
    var jobs: Int?

    @Option(
        help: ArgumentHelp(
            "How often a job runs again of which the host or the worker was at fault; a worker that is lost is waited for.",
            valueName: "count"))
    var retry = 0

    @Flag(help: "End with the first job that is no success.")
    var failFast = false

    @Flag(
        help: ArgumentHelp(
            "Hand the jobs over to the worker, and write their numbers in place of results.",
            discussion:
                "They go on without this command and survive the worker. Each has its job_id as key: handed over again, it is the same job."
        ))
    var detach = false

    @Flag(
        help: ArgumentHelp(
            "Hand over what the worker does not have yet, and write the results of all.",
            discussion:
                "A worker that is restarted meanwhile is waited for, and Ctrl-C stops no job. Once its result is in --out, the worker forgets the job."
        ))
    var attach = false

    @OptionGroup(title: "Many machines") var farm: FarmOptions
    @OptionGroup(title: "Worker") var worker: WorkerOptions

    /// The most times that a job runs again: 1000.
    static let retryLimit = 1000

    func validate() throws {
        guard jobs ?? 1 > 0 else { throw ValidationError("--jobs takes 1 or more.") }
        guard 0...Self.retryLimit ~= retry else { throw ValidationError("--retry takes 0 to \(Self.retryLimit).") }
        if farm.via != nil { try validateFarm() }
        if detach || attach { try validateDetached() }
        guard out != "" else { throw ValidationError("--out needs the name of a file.") }
        let earlier = [("--resume", resume), ("--only-failed", onlyFailed), ("--force", force)].filter(\.1).map(\.0)
        guard out != nil || earlier.isEmpty else {
            throw ValidationError("\(earlier[0]) is about the file of --out: name it.")
        }
        guard out != nil || html == nil else { throw ValidationError("--html is made of the file of --out: name it.") }
        guard !force || earlier.count == 1 else { throw ValidationError("--force drops what \(earlier[0]) needs.") }
    }

    /// What has no meaning on many machines.
    private func validateFarm() throws {
        guard jobs == nil else {
            throw ValidationError("--jobs goes not with --via: --slots says how many run at once.")
        }
        guard outputDir == nil else {
            throw ValidationError("--output-dir goes not with --via: the results have the output in them.")
        }
        guard worker.socket == nil, worker.host == nil, !worker.embedded else {
            throw ValidationError("--via starts workers of its own: --socket, --host and --embedded go not with it.")
        }
    }

    /// What has no meaning for jobs that the worker keeps.
    private func validateDetached() throws {
        let name = detach ? "--detach" : "--attach"
        guard !(detach && attach) else {
            throw ValidationError("--detach returns at once, and --attach with the results: one of the two.")
        }
        guard farm.via == nil else {
            throw ValidationError("\(name) goes not with --via: a cluster's jobs outlive no worker.")
        }
        guard !detach || (outputDir == nil && html == nil) else {
            throw ValidationError("--detach waits for no output: --output-dir and --html go with --attach.")
        }
    }

    private var earlier: ResultsFile.Earlier {
        if onlyFailed { return .resume(.keepSuccesses) }
        return resume ? .resume(.keepFinal) : force ? .overwrite : .refuse
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) { try await run(console) }
    }

    private func run(_ console: Console) async throws -> Int32 {
        let choice = try detach || attach ? worker.choice.forDetaching() : worker.choice
        let manifest = Manifest(path: self.manifest)
        let total = try await count(manifest, console)
        guard let total else { return ExitStatus.cannotRun }
        try makeOutputFolder()
        let (earlier, out) = (earlier, out)
        let file = if let out { try await ResultsFile(path: out, earlier) } else { ResultsFile(console) }
        let collected = CollectedJobs(file)
        let results = BatchResults(
            file.sink, order: ordered ? .asInManifest : .asTheyCome, endsAtFailure: failFast
        ) { await collected.add($0) }
        let done = file.done
        let loader = try BatchLoader(manifest) { done.contains($0) }
        let session = BatchSession(
            loader: loader, results: results, console: console, total: manifest.isStream ? nil : total,
            hasView: isatty(STDERR_FILENO) == 1 && (out != nil || isatty(STDOUT_FILENO) == 0))
        let farm = try farm.farm(out: out, retries: retry, earlier: earlier) { lines in
            await console.say(lines.joined(separator: "\n"))
        }
        let end = await session.run { feed in
            if let farm { return try await farm.run(feed, into: results) }
            let supply = try await WorkerSupply(choice)
            let engine = try await engine(supply, collected, on: choice, isDone: { done.contains($0) })
            let end = await Result.catching { try await engine.run(feed, into: results) }
            await supply.close()
            try end.get()
        }
        let status = try await status(end, results, console)
        if let html, let out {
            try await HTMLReport.write(html, of: ResultLines(path: out, name: out), title: out, console)
        }
        return status
    }

    private func engine(
        _ supply: WorkerSupply, _ collected: CollectedJobs, on choice: WorkerChoice,
        isDone: @escaping @Sendable (String) -> Bool
    ) async throws -> any BatchEngine {
        guard detach || attach else {
            return LocalEngine(worker: supply, jobLimit: jobs, outputFolder: outputDir, retries: retry)
        }
        let isOperator = try await supply.current.connection.client.workerReport().isOperator
        // An operator sees everybody's, and over ssh is known by another number: then none is taken for one's own.
        let (user, isRemote) = (Tenant.user(getuid()), choice.isRemote)
        return DetachedEngine(
            worker: supply, goal: detach ? .handOver : .collect, collected: collected,
            isOwn: { !isOperator || (!isRemote && $0.tenant == user) }, isDone: isDone, jobLimit: jobs,
            outputFolder: outputDir, retries: retry)
    }

    /// How many jobs there are, 0 of a stream; nil where a line is wrong, which was told.
    private func count(_ manifest: Manifest, _ console: Console) async throws -> Int? {
        guard !manifest.isStream else { return 0 }
        let check = try await ManifestCheck(manifest)
        guard let report = check.report else { return check.jobs }
        await console.say(report.joined(separator: "\n"))
        return nil
    }

    private func makeOutputFolder() throws(CommandFailure) {
        guard let outputDir else { return }
        do {
            try FileManager.default.createDirectory(atPath: outputDir, withIntermediateDirectories: true)
        } catch {
            throw .broken("cannot make \(outputDir): \(SystemReason(error).text)")
        }
    }

    private func status(
        _ end: Result<Void, any Error>, _ results: BatchResults, _ console: Console
    ) async throws -> Int32 {
        let isOver = attach ? "; what was handed over goes on" : ""
        let advice =
            isOver + (out == nil || manifest == "-" ? "" : "; the same command with --resume goes on")
        do {
            try end.get()
        } catch is CancellationError {
            await console.say("kvmjob: stopped\(advice)")
            return Interrupts.status
        } catch is BatchFailure {
            await console.say("kvmjob: ended with the first failure\(advice)")
        } catch let failure as CommandFailure {
            throw CommandFailure(message: failure.message + advice, status: failure.status)
        }
        return await results.tally.status
    }
}
