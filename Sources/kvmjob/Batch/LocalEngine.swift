// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Runs a batch on one worker, over one connection at a time.
struct LocalEngine: BatchEngine {
    let worker: WorkerSupply
    /// The most jobs in flight; nil for as many as the worker takes.
    var jobLimit: Int?
    /// Where output goes, if not into the results.
    var outputFolder: String?
    /// How often a job runs again of which the host or the worker was at fault.
    var retries = 0

    func run(_ feed: BatchFeed, into results: BatchResults) async throws {
        let window = JobWindow(limit: jobLimit, worker: await worker.current.connection.client.terms)
        try await window.run(feed, into: results) { job in try await perform(job) }
    }

    /// Nil for a job that was stopped with the batch.
    private func perform(_ job: BatchJob) async throws -> BatchResult? {
        let files = OutputFiles(folder: outputFolder, job)
        var retries = JobRetries(limit: retries)
        while true {
            let link = await worker.current
            let report = try await job.run(on: link.connection.client, files: files)
            // Whoever is cancelled while it waits has nothing to tell but what it had.
            guard let pause = retries.pause(after: report.end), await Self.sleep(pause) else {
                return try result(job, report, files)
            }
            if report.end.needsConnection { try await worker.replace(link, isLost: report.end.isLost) }
        }
    }

    /// Returns false if the task is cancelled before.
    private static func sleep(_ pause: Duration) async -> Bool {
        (try? await Task.sleep(for: pause)) != nil && !Task.isCancelled
    }

    private func result(
        _ job: BatchJob, _ report: JobReport, _ files: OutputFiles?
    ) throws(CommandFailure) -> BatchResult? {
        switch report.end {
        case .ended(let result) where result.outcome == .cancelled(by: .client) && Task.isCancelled: return nil
        case .lost(let message):
            if Task.isCancelled { return nil }
            throw CommandFailure.broken("lost the worker: \(message)")
        case .ended, .refused: return BatchResult(job, report, files: files)
        }
    }
}
