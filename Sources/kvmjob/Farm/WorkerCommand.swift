// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobProtocol
internal import KVMJobClient
internal import Worker

/// `kvmjob worker`: one chunk of a batch, on the machine that it was given to.
///
/// The virtual machines are this process's, and so within whatever Slurm or ssh holds it in; they end with it. SIGTERM, and any other
/// signal, ends it at once: what was not published is run again by whoever gets the chunk next.
struct WorkerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker",
        abstract: "Run one chunk of a batch, as kvmjob batch --via has it started on many machines.",
        discussion: """
            Runs the jobs of the chunk that have no result yet, in virtual machines of this process, and puts each result into the spool \
            as it comes. Any number of workers may have the same chunk: a job keeps its first result. Needs /dev/kvm, and no service.

            Exit status: 0 when every job of the chunk has a result; 125 when the spool is broken or /dev/kvm is not usable.
            """)

    @Option(help: ArgumentHelp("The batch: a folder that kvmjob batch --via made.", valueName: "folder"))
    var spool: String

    @Option(help: ArgumentHelp("Which of its chunks, from 0.", valueName: "n"))
    var chunk: Int

    @Option(
        help: ArgumentHelp(
            "Jobs that run at once, 1 to \(WorkerLimits.maximumSlots). (default: this machine's processors)",
            valueName: "k"))
    var slots: Int?

    @Flag(help: "Results are lines on standard output, too.")
    var print = false

    func validate() throws {
        guard slots.map({ (1...WorkerLimits.maximumSlots).contains($0) }) ?? true else {
            throw ValidationError("--slots takes 1 to \(WorkerLimits.maximumSlots).")
        }
        guard (0..<ChunkPlan.chunkLimit).contains(chunk) else {
            throw ValidationError("--chunk takes 0 to \(ChunkPlan.chunkLimit - 1).")
        }
    }

    func run() async throws {
        let console = Console.standard
        throw try await ExitCode(telling: console) {
            try await run(console)
            return 0
        }
    }

    private func run(_ console: Console) async throws {
        let (spool, chunk) = (Spool(folder: spool), chunk)
        let (head, jobs) = try await Spool.queue.perform { try Self.jobs(of: chunk, in: spool) }
        guard !jobs.isEmpty else { return }
        let connection = try await WorkerConnection.openEmbedded(slots: slots)
        let run = ChunkRun(
            spool: spool, jobs: jobs, retries: head.retries,
            inFlight: 2 * (slots ?? Int(connection.client.terms.slots)), printed: print ? console.output : nil)
        let end = await Result.catching { try await run.run(on: connection.client) }
        await connection.close()
        try end.get()
    }

    /// The chunk's jobs that have no result. Blocks.
    private static func jobs(
        of chunk: Int, in spool: Spool
    ) throws(CommandFailure) -> (head: Spool.Head, jobs: [SpoolJob]) {
        let head = try spool.head()
        guard chunk < head.chunks else {
            throw Spool.failure(spool.folder, "has \(head.chunks) chunks, and none with number \(chunk)")
        }
        try spool.makeFolders()
        let done = Set(try spool.results())
        return (head, try spool.chunk(chunk).filter { !done.contains($0.jobID) })
    }
}
