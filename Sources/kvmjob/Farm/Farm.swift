// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A batch on many machines: puts its jobs into a spool, or takes one up again, and follows what becomes of them.
struct Farm: BatchEngine {
    let options: FarmOptions
    let spool: Spool
    /// How often a job is run again after a host error.
    let retries: Int
    /// Which results count that a spool has already; nil where there must be none.
    let policy: RecordedResults.Policy?
    /// Takes lines for people.
    let tell: @Sendable ([String]) async -> Void

    /// - Parameter out: the results file, beside which the spool is unless the user says otherwise.
    /// - Throws: ``CommandFailure`` where neither says.
    init(
        options: FarmOptions, out: String?, retries: Int, policy: RecordedResults.Policy?,
        tell: @escaping @Sendable ([String]) async -> Void
    ) throws(CommandFailure) {
        guard let folder = options.spool ?? out.map({ "\($0).spool" }) else {
            throw CommandFailure(
                message: "the batch has to lie in a folder: name it with --spool, or a results file with --out",
                status: ExitStatus.usage)
        }
        (self.options, self.retries, self.policy, self.tell) = (options, retries, policy, tell)
        spool = Spool(folder: folder)
    }

    func run(_ feed: BatchFeed, into results: BatchResults) async throws {
        let isNew = !spool.exists
        guard isNew || policy != nil else {
            throw Spool.failure(
                spool.folder, "has a batch already: go on with it by --resume, or name another folder by --spool")
        }
        let jobs = try await read(feed, into: results, keeps: isNew)
        guard !jobs.ids.isEmpty else { return }
        let head = isNew ? try await make(jobs) : try await Spool.queue.perform { [spool] in try spool.head() }
        let wanted = try await wanted(jobs.ids, head)
        if !isNew, let policy { try await Spool.queue.perform { [spool] in try spool.drop(jobs.ids, policy) } }
        let engine = engine(id: head.id)
        let run = FarmRun(spool: spool, wanted: wanted, engine: engine) { [spool] id, line in
            try await results.add(try spool.result(line, of: id))
        }
        try await run.run(isNew: isNew)
        await engine.tidy()
    }

    private func engine(id: String) -> any FarmEngine {
        switch options.via {
        case .slurm, nil:
            SlurmEngine(
                spool: spool, id: id,
                settings: SlurmEngine.Settings(
                    program: options.workerProgram, slots: options.slots, asksForKVM: !options.avoidsGres,
                    options: options.slurmOptions),
                tell: tell)
        case .parallel:
            ParallelEngine(
                spool: spool, id: id,
                settings: ParallelEngine.Settings(
                    hosts: options.hostList, program: options.workerProgram, slots: options.slots),
                tell: tell)
        }
    }

    // MARK: Making the spool

    private struct Jobs: Sendable {
        var ids: Set<String> = []
        /// Of a new spool.
        var entries: [SpoolJob] = []
        /// What they may take, in seconds.
        var wallBudgets: [Double] = []
    }

    /// Takes all jobs. Their bytes are in memory for one job at a time.
    private func read(_ feed: BatchFeed, into results: BatchResults, keeps: Bool) async throws -> Jobs {
        if keeps { try await Spool.queue.perform { [spool] in try spool.makeFolders() } }
        var jobs = Jobs()
        while let item = try await feed.next() {
            switch item {
            case .refused(let result): try await results.add(result)
            case .job(let job):
                jobs.ids.insert(job.id)
                guard keeps else { continue }
                jobs.wallBudgets.append(job.spec.budget.wallTime / .seconds(1))
                jobs.entries.append(try await Spool.queue.perform { [spool] in try spool.keep(job) })
            }
        }
        // The feed ends then, too.
        try Task.checkCancellation()
        return jobs
    }

    private func make(_ jobs: Jobs) async throws -> Spool.Head {
        var plan = ChunkPlan(jobs: jobs.entries.count)
        plan.jobSeconds = options.jobTime.map { $0 / .seconds(1) } ?? ChunkPlan.declaredSeconds(jobs.wallBudgets)
        (plan.chunkSeconds, plan.slots) = (Double(options.chunkSeconds), options.slots)
        plan.nodes = try await nodeCount()
        let (chunks, retries) = (plan.split(jobs.entries), retries)
        return try await Spool.queue.perform { [spool] in try spool.make(chunks, retries: retries) }
    }

    private func nodeCount() async throws -> Int {
        guard options.via == .slurm else { return options.hostList.count }
        return try await SlurmEngine(spool: spool, id: "", settings: .init(program: ""), tell: tell).nodeCount()
    }

    /// In which chunks the wanted jobs are.
    private func wanted(_ ids: Set<String>, _ head: Spool.Head) async throws -> [Int: Set<String>] {
        let wanted = try await Spool.queue.perform { [spool] in
            var wanted: [Int: Set<String>] = [:]
            for chunk in 0..<head.chunks {
                wanted[chunk] = Set(try spool.chunk(chunk).map(\.jobID)).intersection(ids)
            }
            return wanted
        }
        let found = wanted.values.reduce(0) { $0 + $1.count }
        guard found == ids.count else {
            throw Spool.failure(
                spool.folder,
                "is of another batch: \(ids.count - found) of the \(ids.count) jobs are not in it; name another by --spool"
            )
        }
        return wanted
    }
}

extension Spool {
    /// What a result's file says.
    ///
    /// - Throws: ``CommandFailure`` where it says something else.
    func result(_ line: [UInt8], of id: String) throws(CommandFailure) -> BatchResult {
        guard let result = try? BatchResult(text: Array(line.dropLast())), result.id == id else {
            throw Self.failure(resultPath(id), "is not this job's result: remove it, and --resume runs the job again")
        }
        return result
    }

    /// Removes those of these jobs' results that are to be had again: the only files of a spool that are ever removed.
    ///
    /// - Throws: ``CommandFailure``.
    func drop(_ ids: Set<String>, _ policy: RecordedResults.Policy) throws(CommandFailure) {
        for id in ids.intersection(try results()) {
            guard try !policy.keeps(result(result(of: id), of: id)) else { continue }
            try remove(id)
        }
    }

    /// Keeps a job's bytes.
    ///
    /// - Returns: its line.
    /// - Throws: ``CommandFailure``.
    func keep(_ job: BatchJob) throws(CommandFailure) -> SpoolJob {
        let images: [Image]
        switch job.source {
        case .image(let image): images = [image]
        case .program(let layers): images = layers
        case .snapshot:
            throw CommandFailure(
                message: "line \(job.line): a snapshot lives in one worker, and other machines do not have it",
                status: ExitStatus.cannotRun)
        }
        var objects: [String] = []
        for image in images { objects.append(try keep(image)) }
        var input: String?
        if let bytes = job.input { input = try keep(Image(bytes)) }
        return SpoolJob(job, objects: objects, input: input)
    }
}
