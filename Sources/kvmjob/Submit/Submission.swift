// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Runs the jobs of one command and shows them.
struct Submission: Sendable {
    let jobs: JobList
    /// What the jobs have in common: everything but the label.
    let spec: JobSpec
    /// What lies in their memory beside the image.
    let memory: [MemoryPiece]
    /// The file that each guest reads, "-" for standard input, or nil.
    let input: String?
    let presentation: Presentation
    let console: Console
    /// What else is said of how the images start.
    var start = ImageStart()
    /// Who says how a job goes on that has used up its steps; nil where it ends then.
    var answers: AnswerSource?

    /// Runs all jobs and returns the process's exit status. Ctrl-C stops them; what they are worth then is still shown.
    ///
    /// - Throws: ``CommandFailure`` when there is no worker, ``OutputError`` when standard output takes nothing more; jobs that
    ///   still run then are stopped. `CancellationError` when Ctrl-C came before there was a job.
    func run(on choice: WorkerChoice) async throws -> Int32 {
        try await WorkerConnection.with(choice) { try await runJobs($0) }
    }

    /// As many jobs are in flight as the worker takes from one client. Each is a child task, and cancelling it cancels the job.
    private func runJobs(_ client: JobClient) async throws -> Int32 {
        try await withThrowingTaskGroup(of: JobEnd.self) { group in
            var status = ExitStatus(isOnlyJob: jobs.isSingle, takesSnapshot: spec.snapshot != nil)
            var room = max(1, client.terms.jobLimit)
            let surroundings = await loadSurroundings(limit: client.terms.imageLimit)
            for (source, stem) in jobs.images {
                let image = await load(source, surroundings, limit: client.terms.imageLimit)
                for repetition in 1...jobs.repeats where !Task.isCancelled {
                    if room > 0 {
                        room -= 1
                    } else if let end = try await group.next() {
                        status.add(end)
                    }
                    let name = JobList.name(stem: stem, repetition: repetition, of: jobs.repeats)
                    group.addTask { try await run(image, from: source, name: name, client) }
                }
            }
            for try await end in group { status.add(end) }
            return status.code
        }
    }

    func loadSurroundings(limit: UInt64) async -> Result<LoadedSurroundings, any Error> {
        await .catching { try await LoadedSurroundings(memory, start, limit: limit) }
    }

    func load(
        _ source: ImageSource, _ surroundings: Result<LoadedSurroundings, any Error>, limit: UInt64
    ) async -> Result<LoadedImage, any Error> {
        if case .snapshot(let name) = source { return .success(LoadedImage(spec, from: name)) }
        return await .catching {
            try surroundings.get().join(try await source.load(limit: limit), from: source, spec)
        }
    }

    /// - Throws: ``OutputError``.
    private func run(
        _ image: Result<LoadedImage, any Error>, from source: ImageSource, name: String, _ client: JobClient
    ) async throws -> JobEnd {
        var display = JobDisplay(image: source.text, name: name, presentation: presentation, console: console)
        let end: JobEnd
        do {
            end = .ended(try await follow(image.get(), name: name, client, &display))
        } catch let error as OutputError {
            throw error
        } catch {
            end = JobEnd(error)
        }
        try await display.finish(end)
        return end
    }

    private func follow(
        _ image: LoadedImage, name: String, _ client: JobClient, _ display: inout JobDisplay
    ) async throws -> JobResult {
        let source = try input.map(open)
        var image = image
        image.spec.label = JobList.label(name)
        try await display.begin(image.spec, image.source)
        let job = try await start(image, source, client, &display)
        display.accept(job.acceptance)
        if jobs.isSingle { await WaitNotice(acceptance: job.acceptance).tell(console) }
        if let answers { answer(job, name: name, from: answers) }
        for try await chunk in job.output { try await display.receive(chunk.channel, chunk.bytes) }
        return try await job.result()
    }

    /// A file's first piece goes ahead of the image, so that a guest finds the same whenever it looks; nobody waits for what a
    /// pipe or a terminal has not got yet.
    private func start(
        _ image: LoadedImage, _ source: ByteSource?, _ client: JobClient, _ display: inout JobDisplay
    ) async throws -> RunningJob {
        if image.spec.isDeterministic { return try await startRepeatable(image, source, client, &display) }
        guard let source else { return try await image.source.submit(image.spec, to: client) }
        let first = source.isSeekable ? try await source.next() : []
        let job = try await image.source.submit(image.spec, to: client, input: first ?? [], moreInput: first != nil)
        if first != nil { InputFeed(source: source, job: job, console: console).start() }
        return job
    }

    /// Nobody waits for this task: a job can end while somebody still thinks about how it should go on.
    private func answer(_ job: RunningJob, name: String, from answers: AnswerSource) {
        let dialog = PauseDialog(
            name: name, presentation: presentation, console: console, source: answers,
            usualSteps: spec.budget.steps ?? 0)
        Task { await dialog.follow(job) }
    }

    /// All of the input goes ahead, since a guest can see when it comes.
    private func startRepeatable(
        _ image: LoadedImage, _ source: ByteSource?, _ client: JobClient, _ display: inout JobDisplay
    ) async throws -> RunningJob {
        var input: [UInt8]?
        if let source { input = try await readAll(source) }
        if image.bytes.count <= JobDescription.imageLimit {
            try display.record(JobDescription(spec: image.spec, image: image.bytes, input: input))
        } else {
            let limit = SizeText.describe(UInt64(JobDescription.imageLimit))
            await console.say("kvmjob: \(image.spec.label): an image above \(limit) is not put into the report")
        }
        guard let input else { return try await image.source.submit(image.spec, to: client) }
        return try await image.source.submit(image.spec, to: client, input: input, moreInput: false)
    }

    // MARK: Input

    /// - Throws: ``Rejection``.
    private func readAll(_ source: ByteSource) async throws -> [UInt8] {
        let limit = ByteSource.pieceLimit
        let input: [UInt8]
        do {
            input = try await source.readAll(limit: limit + 1)
        } catch let reason as SystemReason {
            throw Rejection.unreadable("cannot read the input: \(reason.text)")
        }
        guard input.count <= limit else {
            throw Rejection(
                code: "input-too-large",
                message:
                    "the input is larger than \(SizeText.describe(UInt64(limit))): a guest can see when input comes, "
                    + "so that of a deterministic job has to be there, whole, before it starts",
                limit: UInt64(limit))
        }
        return input
    }

    private func open(_ path: String) throws(Rejection) -> ByteSource {
        do {
            return try ByteSource(path: path)
        } catch {
            throw .unreadable("cannot read \(path): \(error.text)")
        }
    }
}

extension JobEnd {
    /// The end of a job that has no result, by what was thrown instead.
    init(_ error: any Error) {
        switch error {
        case let rejection as Rejection: self = .refused(rejection)
        case let error as JobClientError: self.init(error)
        // Cancelled before the worker had accepted it: it never ran.
        case is CancellationError: self = .ended(JobResult(outcome: .cancelled(by: .client)))
        default: self = .lost(String(describing: error))
        }
    }

    /// The same, where it is an end of the job.
    ///
    /// - Throws: the error, where it is the whole command's.
    init(ofJob error: any Error) throws {
        switch error {
        case is OutputError, is CommandFailure, is ValidationError: throw error
        default: self.init(error)
        }
    }

    private init(_ error: JobClientError) {
        switch (error.code, error.refusal) {
        case (.refused, let refusal?):
            self = .refused(
                Rejection(
                    code: refusal.name, message: error.message, limit: refusal.limit, value: refusal.value,
                    isRetryable: error.isRetryable, limitName: refusal.limitName,
                    retryNanoseconds: refusal.retryNanoseconds))
        case (.goingAway, _):
            self = .refused(Rejection(code: "draining", message: error.message, isRetryable: true))
        default: self = .lost(error.message)
        }
    }
}
