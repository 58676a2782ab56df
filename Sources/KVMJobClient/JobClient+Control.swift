// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import JobProtocol
internal import NIOCore

/// What a client asks of the worker itself, and tells it to stop.
///
/// Users see and stop what is theirs, by whatever connection it came; operators see and stop everything. Any number of tasks may ask at
/// the same time: the worker answers one after the other. A task that is cancelled waits no longer; what it asked for, such as a stop,
/// may happen all the same.
///
/// All of it fails with ``JobClientError`` when the connection ends before the answer, and with `CancellationError` when the task was
/// cancelled.
extension JobClient {
    /// The most tenants or jobs that ``tenants()`` and ``jobs()`` collect: 1,048,576. A worker that has more to tell makes no sense.
    public static let listLimit = 1 << 20

    /// One question and its answer; of a list it is one page. ``workerReport()``, ``tenants()``, ``jobs()`` and ``counters()`` are more
    /// to the point.
    public func query(_ query: Query) async throws -> Answer {
        try await asking { handler, promise in handler.ask(query, promise) }
    }

    /// How the worker is doing: its slots and jobs, its memory, how it is confined, and whether this user is an operator.
    public func workerReport() async throws -> WorkerReport {
        guard case .worker(let report) = try await query(.worker) else { throw JobClientError.strangeAnswer }
        return report
    }

    /// Who has something in the worker, by rising user number; of what changes while they are listed, either state is told.
    public func tenants() async throws -> [TenantReport] {
        try await pages { last in
            guard case .tenants(let reports, let more) = try await self.query(.tenants(after: last?.tenant)) else {
                throw JobClientError.strangeAnswer
            }
            return (reports, more)
        }
    }

    /// The jobs that have not ended, by rising id: queued, running and paused ones. One that comes or ends meanwhile may be told or not.
    public func jobs() async throws -> [ListedJob] {
        try await pages { last in
            guard case .jobs(let jobs, let more) = try await self.query(.jobs(after: last?.id)) else {
                throw JobClientError.strangeAnswer
            }
            return (jobs, more)
        }
    }

    /// What the worker has counted since it started.
    public func counters() async throws -> CounterReport {
        guard case .counters(let report) = try await query(.counters) else { throw JobClientError.strangeAnswer }
        return report
    }

    /// Tells the worker to stop these jobs, by the ids of ``RunningJob/acceptance`` or ``jobs()``: as many as one likes, also of other
    /// connections.
    ///
    /// - Returns: what becomes of each, in the same order. The result of one that is stopped goes to whoever submitted it.
    public func cancel(jobs ids: [UInt64]) async throws -> [StopAnswer.JobAnswer] {
        try await inPortions(ids) { ids in
            guard case .jobs(let found) = try await self.stop(.jobs(ids)) else { throw JobClientError.strangeAnswer }
            return found
        }
    }

    /// Has detached jobs forgotten that have ended: output, result and key. As many as one likes.
    ///
    /// - Returns: what becomes of each, in the same order: `stopped` of one that is forgotten now, `unknown` of one that this user does not
    ///   have, `unfinished` of one that has not ended and is kept.
    public func forget(_ ids: [UInt64]) async throws -> [StopAnswer.JobAnswer] {
        try await inPortions(ids) { ids in
            guard case .keeping(let found) = try await self.stop(.keeping(ids)) else {
                throw JobClientError.strangeAnswer
            }
            return found
        }
    }

    /// The detached jobs that the worker keeps of this user, or for an operator of everybody, by rising id.
    public func detachedJobs() async throws -> [DetachedJob] {
        try await pages { last in
            guard case .detached(let jobs, let more) = try await self.query(.detached(after: last?.id)) else {
                throw JobClientError.strangeAnswer
            }
            return (jobs, more)
        }
    }

    /// Asks for as many jobs at a time as one request names.
    private func inPortions(
        _ ids: [UInt64], _ ask: ([UInt64]) async throws -> [StopAnswer.JobAnswer]
    ) async throws -> [StopAnswer.JobAnswer] {
        var (answers, rest): ([StopAnswer.JobAnswer], ArraySlice<UInt64>) = ([], ids[...])
        while !rest.isEmpty {
            let next = Array(rest.prefix(terms.largestStop))
            answers += try await ask(next)
            rest = rest.dropFirst(next.count)
        }
        return answers
    }

    /// Tells the worker to take no more jobs, to end those that it has, and to leave.
    ///
    /// - Returns: whether it does: only operators are obeyed.
    public func drainWorker() async throws -> Bool {
        guard case .worker(let drains) = try await stop(.worker) else { throw JobClientError.strangeAnswer }
        return drains
    }

    private func stop(_ request: StopRequest) async throws -> StopAnswer {
        try await asking { handler, promise in handler.ask(request, promise) }
    }

    /// All pages of a list. The session has seen that each begins above the last of the one before.
    private func pages<Record: Sendable>(
        _ page: (Record?) async throws -> ([Record], more: Bool)
    ) async throws -> [Record] {
        var (all, more): ([Record], Bool) = ([], true)
        while more {
            let next = try await page(all.last)
            all += next.0
            more = next.more
            guard all.count <= Self.listLimit else {
                throw JobClientError(.protocolViolation, "the worker lists more than \(Self.listLimit) entries")
            }
        }
        return all
    }

    /// Asks on the event loop, and waits for the answer as long as the task is not cancelled.
    private func asking<Reply: Sendable>(
        _ ask: @escaping @Sendable (ClientHandler, EventLoopPromise<Reply>) -> Void
    ) async throws -> Reply {
        try Task.checkCancellation()
        let (handler, loop) = (handler, channel.eventLoop)
        let promise = loop.makePromise(of: Reply.self)
        loop.execute { ask(handler.value, promise) }
        return try await withTaskCancellationHandler {
            try await promise.futureResult.get()
        } onCancel: {
            promise.fail(CancellationError())
        }
    }
}

extension JobClientError {
    /// The session lets no such answer through.
    fileprivate static var strangeAnswer: JobClientError {
        JobClientError(.protocolViolation, "the worker answered something else than it was asked")
    }
}
