// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Takes a batch's jobs from its feed, works at so many of them at a time, and gives each result on.
struct JobWindow {
    /// The most jobs in flight.
    let limit: Int

    /// The most bytes of images and inputs that jobs in flight hold, each image once: 512 MiB, but for a single job.
    static let heldBytesLimit = 512 << 20

    /// - Parameter limit: what was asked for; nil for as many as the worker takes, which is the most.
    init(limit: Int?, worker terms: WorkerTerms) {
        self.limit = min(limit ?? .max, max(1, Int(terms.jobLimit)))
    }

    private enum Event: Sendable {
        case read(BatchFeed.Item?)
        case ended(BatchJob, BatchResult?)
    }

    /// Returns when the feed has no more and all results were given on.
    ///
    /// - Parameter perform: what is done with a job; nil for one that has no result, since the batch is over.
    /// - Throws: what the feed, the work and ``BatchResults/add(_:)`` throw; `CancellationError`.
    func run(
        _ feed: BatchFeed, into results: BatchResults,
        _ perform: @escaping @Sendable (BatchJob) async throws -> BatchResult?
    ) async throws {
        try await withThrowingTaskGroup(of: Event.self) { group in
            var room = limit
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
                        group.addTask { .ended(job, try await perform(job)) }
                    case .refused(let result): try await results.add(result)
                    case nil: break
                    }
                case .ended(let job, let result):
                    room += 1
                    holdings.remove(job)
                    if let result { try await results.add(result) }
                }
            }
        }
        try Task.checkCancellation()
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
