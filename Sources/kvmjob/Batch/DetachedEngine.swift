// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Runs a batch as detached jobs: the worker keeps each under its id, so that handing it over again, from here or from another
/// machine, is the same job.
struct DetachedEngine: BatchEngine {
    /// When a job is done with: as soon as the worker has it, or with its result.
    enum Goal: Sendable { case handOver, collect }

    let worker: WorkerSupply
    let goal: Goal
    let collected: CollectedJobs
    /// Whether a job that the worker tells of is this user's.
    let isOwn: @Sendable (DetachedJob) -> Bool
    /// Whether a job of this id has its result already.
    let isDone: @Sendable (_ id: String) -> Bool
    /// The most jobs in flight; nil for as many as the worker takes.
    var jobLimit: Int?
    /// Where output goes, if not into the results.
    var outputFolder: String?
    /// How often a job runs again of which the host or the worker was at fault.
    var retries = 0

    /// How often one job's worker may be lost, one time after the other: 100. The jobs go on without us, so this is no retry.
    static let lossLimit = 100

    func run(_ feed: BatchFeed, into results: BatchResults) async throws {
        let client = await worker.current.connection.client
        let window = JobWindow(limit: jobLimit, worker: client.terms)
        let kept = goal == .collect ? try await kept(by: client) : [:]
        let end = await Result.catching {
            try await window.run(feed, into: results) { job in try await perform(job, kept[job.id]) }
        }
        // Also of a batch that was cancelled, with its task.
        let (worker, collected) = (worker, collected)
        let forgetting = Task { try await collected.forget(over: await worker.current.connection.client) }
        let hasForgotten = await forgetting.result
        try end.get()
        try hasForgotten.get()
    }

    /// The numbers of the jobs that the worker has, by their keys. What has its result already is forgotten.
    private func kept(by client: JobClient) async throws -> [String: UInt64] {
        let jobs = try await client.detachedJobs().filter(isOwn)
        var (kept, done): ([String: UInt64], [UInt64]) = ([:], [])
        for job in jobs {
            guard let key = job.key else { continue }
            if isDone(key) { done.append(job.id) } else { kept[key] = job.id }
        }
        _ = try await client.forget(done)
        return kept
    }

    /// What came of one try over one connection.
    private enum Turn {
        case handedOver(Acceptance)
        case ended(JobEnd)
        /// Nobody told the end here. The worker has the job all the same, or will when it is handed over again.
        case letGo(String, Link)
    }

    /// What the connection is still good for.
    private enum Link { case all, nothingNew, nothing }

    /// Nil for a job that was left alone with the batch.
    ///
    /// - Parameter known: the worker's number for the job, if it has the job.
    private func perform(_ job: BatchJob, _ known: UInt64?) async throws -> BatchResult? {
        let files = goal == .collect ? OutputFiles(folder: outputFolder, job) : nil
        var retries = JobRetries(limit: retries)
        var collection = try await Collection(job, files, id: known)
        var losses = 0
        while !Task.isCancelled {
            let link = await worker.current
            let client = link.connection.client
            switch try await turn(job, &collection, client) {
            case .handedOver(let acceptance): return BatchResult(job, acceptance)
            case .letGo(let message, let use):
                losses += 1
                guard losses <= Self.lossLimit else { throw CommandFailure.broken("lost the worker: \(message)") }
                try await Task.sleep(for: JobRetries.firstPause)
                if use != .all { try await worker.replace(link, isLost: use == .nothing) }
            case .ended(let end):
                guard let pause = retries.pause(after: end) else {
                    var result = BatchResult(job, collection.output.concluded(end), files: files)
                    result.detachedID = collection.listening?.id
                    return result
                }
                losses = 0
                try await Task.sleep(for: pause)
                // A job that is kept would have the same end for ever.
                if let id = collection.listening?.id { _ = try? await client.forget([id]) }
                collection = try await Collection(job, files)
            }
        }
        return nil
    }

    /// What has come of a job over all connections.
    private struct Collection {
        var output: BatchJobOutput
        /// The worker's number for the job, and from where to listen to it; nil while it is to be handed over.
        var listening: (id: UInt64, stream: DetachedStream)?

        init(_ job: BatchJob, _ files: OutputFiles?, id: UInt64? = nil) async throws {
            output = try await BatchJobOutput(job, files)
            id.map { listen(to: $0) }
        }

        mutating func listen(to id: UInt64) {
            listening = (id, DetachedStream(AttachRequest(id: id)))
            output.accept(Acceptance(id: id))
        }
    }

    private func turn(_ job: BatchJob, _ collection: inout Collection, _ client: JobClient) async throws -> Turn {
        do {
            try await collected.forget(over: client, atLeast: CollectedJobs.portion)
            if collection.listening == nil {
                let acceptance = try await job.handOver(to: client)
                if goal == .handOver { return .handedOver(acceptance) }
                guard let id = acceptance.id else { return .letGo("it did not say the job's number", .nothing) }
                collection.listen(to: id)
            }
            return try await listen(job, &collection, client)
        } catch let cancellation as CancellationError {
            throw cancellation
        } catch let error as JobClientError where error.refusal?.name == "job-unknown" {
            // Forgotten since it was handed over: it is handed over again.
            collection = try await Collection(job, collection.output.files)
            return .letGo(error.message, .all)
        } catch {
            return Self.turn(try JobEnd(ofJob: error))
        }
    }

    private func listen(_ job: BatchJob, _ collection: inout Collection, _ client: JobClient) async throws -> Turn {
        guard let (id, stream) = collection.listening else { return .letGo("it has not been handed over", .all) }
        let found = try await stream.listen(over: client) { event in
            switch event {
            case .attached: break
            case .beganAnew:
                collection.output = try await BatchJobOutput(job, collection.output.files)
                collection.output.accept(Acceptance(id: id))
            case .output(let chunk): try await collection.output.receive(chunk)
            }
        }
        switch found.end {
        case .result(let result): return .ended(.ended(result))
        case .left(.drain): return .letGo("it is shutting down", .nothingNew)
        case .left(.asked), .left(.told): return .letGo("it let go of the job", .all)
        case .left(.forgotten):
            collection = try await Collection(job, collection.output.files)
            return .letGo("it forgot the job", .all)
        }
    }

    /// What to make of a try that has no result.
    private static func turn(_ end: JobEnd) -> Turn {
        switch end {
        case .lost(let message): .letGo(message, .nothing)
        case .refused(let rejection) where rejection.code == "draining": .letGo(rejection.message, .nothingNew)
        case .refused, .ended: .ended(end)
        }
    }
}
