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
    /// The most jobs in flight; nil for as many as the worker takes.
    var jobLimit: Int?
    /// Where output goes, if not into the results.
    var outputFolder: String?
    /// How often a job runs again of which the host or the worker was at fault.
    var retries = 0

    /// How often one job's worker may be lost, one time after the other: 100. The jobs go on without us, so this is no retry.
    static let lossLimit = 100

    func run(_ feed: BatchFeed, into results: BatchResults) async throws {
        let window = JobWindow(limit: jobLimit, worker: await worker.current.connection.client.terms)
        let end = await Result.catching { try await window.run(feed, into: results) { try await perform($0) } }
        // Also of a batch that was cancelled, with its task.
        let (worker, collected) = (worker, collected)
        let forgetting = Task { try await collected.forget(over: await worker.current.connection.client) }
        let hasForgotten = await forgetting.result
        try end.get()
        try hasForgotten.get()
    }

    /// What came of one try over one connection.
    private enum Turn {
        case handedOver(Acceptance)
        case ended(JobEnd, id: UInt64?)
        /// Nobody told the end here. The worker has the job all the same, or will when it is handed over again.
        case letGo(String, Link)
    }

    /// What the connection is still good for.
    private enum Link { case all, nothingNew, nothing }

    /// Nil for a job that was left alone with the batch.
    private func perform(_ job: BatchJob) async throws -> BatchResult? {
        let files = goal == .collect ? OutputFiles(folder: outputFolder, job) : nil
        let backoff = RetryPause()
        var collection = try await Collection(job, files)
        var (attempt, losses) = (0, 0)
        while !Task.isCancelled {
            let link = await worker.current
            let client = link.connection.client
            switch try await turn(job, &collection, client) {
            case .handedOver(let acceptance): return BatchResult(job, acceptance)
            case .letGo(let message, let use):
                losses += 1
                guard losses <= Self.lossLimit else { throw CommandFailure.broken("lost the worker: \(message)") }
                try await Task.sleep(for: RetryPause.first)
                if use != .all { try await worker.replace(link, isLost: use == .nothing) }
            case .ended(let end, let id):
                guard attempt < retries, let pause = backoff.pause(after: end, attempt: attempt) else {
                    var result = BatchResult(job, collection.output.concluded(end), files: files)
                    result.detachedID = id
                    return result
                }
                (attempt, losses) = (attempt + 1, 0)
                try await Task.sleep(for: pause)
                // A job that is kept would have the same end for ever.
                if let id { _ = try? await client.forget([id]) }
                collection = try await Collection(job, files)
            }
        }
        return nil
    }

    /// What has come of a job over all connections.
    private struct Collection {
        var output: BatchJobOutput
        /// The worker's number for the job, and from where to listen to it.
        var listening: (id: UInt64, stream: DetachedStream)?

        init(_ job: BatchJob, _ files: OutputFiles?) async throws { output = try await BatchJobOutput(job, files) }
    }

    private func turn(_ job: BatchJob, _ collection: inout Collection, _ client: JobClient) async throws -> Turn {
        var id: UInt64?
        do {
            try await collected.forget(over: client, atLeast: CollectedJobs.portion)
            let acceptance = try await job.handOver(to: client)
            if goal == .handOver { return .handedOver(acceptance) }
            id = acceptance.id
            return try await listen(job, acceptance, &collection, client)
        } catch let cancellation as CancellationError {
            throw cancellation
        } catch {
            return Self.turn(try JobEnd(ofJob: error), id)
        }
    }

    private func listen(
        _ job: BatchJob, _ acceptance: Acceptance, _ collection: inout Collection, _ client: JobClient
    ) async throws -> Turn {
        guard let id = acceptance.id else { return .letGo("it did not say the job's number", .nothing) }
        if collection.listening?.id != id {
            // The first time, or another job since the one that was listened to has been forgotten.
            collection = try await Collection(job, collection.output.files)
            collection.listening = (id, DetachedStream(AttachRequest(id: id)))
        }
        guard let stream = collection.listening?.stream else { preconditionFailure("it was set above") }
        collection.output.accept(acceptance)
        let found = try await stream.listen(over: client) { event in
            switch event {
            case .attached: break
            case .beganAnew:
                collection.output = try await BatchJobOutput(job, collection.output.files)
                collection.output.accept(acceptance)
            case .output(let chunk): try await collection.output.receive(chunk)
            }
        }
        switch found.end {
        case .result(let result): return .ended(.ended(result), id: id)
        case .left(.drain): return .letGo("it is shutting down", .nothingNew)
        case .left(.asked), .left(.told), .left(.forgotten): return .letGo("it let go of the job", .all)
        }
    }

    /// What to make of a try that has no result.
    private static func turn(_ end: JobEnd, _ id: UInt64?) -> Turn {
        switch end {
        case .lost(let message): .letGo(message, .nothing)
        case .refused(let rejection) where rejection.code == "draining": .letGo(rejection.message, .nothingNew)
        // Forgotten since it was handed over.
        case .refused(let rejection) where rejection.code == "job-unknown": .letGo(rejection.message, .all)
        case .refused, .ended: .ended(end, id: id)
        }
    }
}
