// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Runs a batch on one worker, over one connection.
struct LocalEngine: BatchEngine {
    let client: JobClient
    /// The most jobs in flight; nil for as many as the worker takes.
    var jobLimit: Int?
    /// Where output goes, if not into the results.
    var outputFolder: String?

    private enum Event: Sendable {
        case read(BatchFeed.Item?)
        case ended(BatchJob, JobReport)
    }

    func run(_ feed: BatchFeed, into results: BatchResults) async throws {
        try await withThrowingTaskGroup(of: Event.self) { group in
            var room = min(jobLimit ?? .max, max(1, Int(client.terms.jobLimit)))
            var (isReading, hasEnded) = (false, false)
            while true {
                if !isReading, !hasEnded, room > 0 {
                    isReading = true
                    group.addTask { .read(try await feed.next()) }
                }
                guard let event = try await group.next() else { break }
                switch event {
                case .read(let item):
                    (isReading, hasEnded) = (false, item == nil)
                    switch item {
                    case .job(let job):
                        room -= 1
                        group.addTask { try await run(job) }
                    case .refused(let result): try await results.add(result)
                    case nil: break
                    }
                case .ended(let job, let report):
                    room += 1
                    if let result = try result(job, report) { try await results.add(result) }
                }
            }
        }
        try Task.checkCancellation()
    }

    private func run(_ job: BatchJob) async throws -> Event {
        .ended(job, try await job.run(on: client, files: files(of: job)))
    }

    private func files(of job: BatchJob) -> OutputFiles? {
        outputFolder.map { OutputFiles(folder: $0, id: job.id, hasErrors: job.spec.mode == .linux) }
    }

    /// Nil for a job that was stopped with the batch.
    private func result(_ job: BatchJob, _ report: JobReport) throws(CommandFailure) -> BatchResult? {
        switch report.end {
        case .ended(let result) where result.outcome == .cancelled(by: .client) && Task.isCancelled: return nil
        case .lost(let message):
            if Task.isCancelled { return nil }
            throw CommandFailure.broken("\(message); --resume goes on with what is not done")
        case .ended, .refused: return BatchResult(job, report, files: files(of: job))
        }
    }
}
