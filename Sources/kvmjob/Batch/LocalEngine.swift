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

    /// The most bytes of images and inputs that jobs in flight hold, each image once: 512 MiB, but for a single job.
    static let heldBytesLimit = 512 << 20

    private enum Event: Sendable {
        case read(BatchFeed.Item?)
        case ended(BatchJob, JobReport)
    }

    func run(_ feed: BatchFeed, into results: BatchResults) async throws {
        let limit = max(1, Int(await worker.current.connection.client.terms.jobLimit))
        try await withThrowingTaskGroup(of: Event.self) { group in
            var room = min(jobLimit ?? .max, limit)
            var holdings = JobHoldings()
            var (isReading, hasEnded) = (false, false)
            while true {
                if !isReading, !hasEnded, room > 0, holdings.bytes < Self.heldBytesLimit {
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
                        holdings.add(job)
                        group.addTask { try await run(job) }
                    case .refused(let result): try await results.add(result)
                    case nil: break
                    }
                case .ended(let job, let report):
                    room += 1
                    holdings.remove(job)
                    if let result = try result(job, report) { try await results.add(result) }
                }
            }
        }
        try Task.checkCancellation()
    }

    private func run(_ job: BatchJob) async throws -> Event {
        let backoff = RetryPause()
        for attempt in 0... {
            let link = await worker.current
            let report = try await job.run(on: link.connection.client, files: files(of: job))
            guard attempt < retries, let pause = backoff.pause(after: report.end, attempt: attempt) else {
                return .ended(job, report)
            }
            // Whoever is cancelled while it waits has nothing to tell but what it had.
            guard case .success = await Result.catching({ try await Task.sleep(for: pause) }), !Task.isCancelled else {
                return .ended(job, report)
            }
            if report.end.needsConnection { try await worker.replace(link, isLost: report.end.isLost) }
        }
        preconditionFailure("attempts are counted without end")
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
            throw CommandFailure.broken("lost the worker: \(message)")
        case .ended, .refused: return BatchResult(job, report, files: files(of: job))
        }
    }
}

/// When a job runs again.
struct RetryPause: Sendable {
    /// The first pause before a job runs again of which the host was at fault: 100 ms; each next one is twice as long.
    static let first = Duration.milliseconds(100)
    /// The longest pause: 30 s, also where the worker says more.
    static let longest = Duration.seconds(30)

    /// Nil for what no run would make better.
    func pause(after end: JobEnd, attempt: Int) -> Duration? {
        let usual = min(Self.first * (1 << min(attempt, 10)), Self.longest)
        switch end {
        case .lost: return usual
        case .refused(let rejection):
            guard rejection.isRetryable else { return nil }
            return rejection.retryNanoseconds.map { min(Duration(wholeNanoseconds: $0), Self.longest) } ?? usual
        case .ended(let result):
            switch result.outcome {
            case .hostError, .cancelled(by: .drain), .cancelled(by: .disconnect): return usual
            case .halted, .exited, .faulted, .tripleFault, .unemulatable, .exhausted, .cancelled, .waitExpired,
                .snapshotTaken:
                return nil
            }
        }
    }
}

extension JobEnd {
    fileprivate var isLost: Bool {
        if case .lost = self { true } else { false }
    }

    /// Whether the job's connection takes no more jobs.
    fileprivate var needsConnection: Bool {
        switch self {
        case .lost: true
        case .refused(let rejection): rejection.code == "draining"
        case .ended(let result): result.outcome == .cancelled(by: .drain)
        }
    }
}

/// What the jobs in flight hold, of which lines share images.
private struct JobHoldings {
    private(set) var bytes = 0
    private var shared: [ContentDigest: Int] = [:]

    mutating func add(_ job: BatchJob) {
        bytes += job.ownBytes
        for (key, count) in job.holdings {
            if shared[key] == nil { bytes += count }
            shared[key, default: 0] += 1
        }
    }

    mutating func remove(_ job: BatchJob) {
        bytes -= job.ownBytes
        for (key, count) in job.holdings {
            shared[key, default: 1] -= 1
            guard shared[key] == 0 else { continue }
            shared[key] = nil
            bytes -= count
        }
    }
}
