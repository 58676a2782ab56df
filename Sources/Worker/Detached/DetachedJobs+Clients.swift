// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling
internal import JobStore
internal import KVM

/// What clients ask about kept jobs, and read of them.
extension DetachedJobs {
    // MARK: Attaching

    /// Lets a client read of a job. Only its own user may.
    func attach(
        _ reader: AttachedReader, _ request: AttachRequest, of owner: Tenant,
        answer: @escaping (Result<DetachedJob, Refusal>) -> Void
    ) {
        keep { store throws(JobStoreError) in
            try store.job(request.id)
        } then: { [self] result in
            guard reader.connection != nil else { return }
            switch result {
            case .failure(let error):
                dispatcher.log.storeFailed(error)
                answer(.failure(Refusal(.queueFull, "the worker could not look for the job: \(error)")))
            case .success(let kept):
                do throws(Refusal) {
                    let job = try Self.check(kept?.job, request, of: owner)
                    readers[request.id, default: []].append(reader)
                    reader.isAttached = true
                    answer(.success(job))
                    pump(reader)
                } catch { answer(.failure(error)) }
            }
        }
    }

    private static func check(
        _ job: DetachedJob?, _ request: AttachRequest, of owner: Tenant
    ) throws(Refusal) -> DetachedJob {
        guard let job, job.tenant == owner, owner.user != nil else {
            throw Refusal(
                .jobUnknown,
                "this worker keeps no detached job \(request.id) of this user: it was forgotten, or never was; "
                    + "kvmjob ps --detached lists those that there are", value: request.id)
        }
        let hasOutput = request.offsets.values.contains { $0 > 0 }
        guard let run = request.run, run != job.outputRun, hasOutput else { return job }
        throw Refusal(
            .runOver,
            "run \(run) of job \(job.id) was cut short by the worker's end, and its output dropped: what follows is of run "
                + "\(job.outputRun), from its start", limit: UInt64(job.outputRun), value: UInt64(run))
    }

    /// There is more of this job.
    func notify(_ id: UInt64) { readers[id]?.forEach(pump) }

    /// There is nothing of this job any more.
    func forgotten(_ id: UInt64) { readers[id]?.forEach { letGo($0, because: .forgotten) } }

    /// Sends what there is and can be sent.
    func pump(_ reader: AttachedReader) {
        guard reader.connection != nil, reader.isAttached else { return }
        guard !reader.isReading else { return reader.isStale = true }
        guard !reader.wantsOutput || reader.room > 0 else { return }
        (reader.isReading, reader.isStale) = (true, false)
        let (id, position, room) = (reader.job, reader.position, reader.wantsOutput ? reader.room : nil)
        keep { store throws(JobStoreError) in
            try KeptReading(of: id, from: position, atMost: room, in: store)
        } then: { [self] result in
            switch result {
            case .success(let reading?): send(reading, to: reader)
            case .success(nil): letGo(reader, because: .forgotten)
            case .failure(let error):
                dispatcher.log.storeFailed(error)
                letGo(reader, because: .drain)
            }
        }
    }

    private func send(_ reading: KeptReading, to reader: AttachedReader) {
        reader.position = reading.position
        for chunk in reading.chunks {
            reader.sent(chunk.bytes.count)
            reader.connection?.output(reader.number, chunk.channel, chunk.bytes, to: reader)
        }
        // Not before: what the socket takes at once asks for what comes next, and would not find all of this counted.
        reader.isReading = false
        if reading.hasMore || !reading.chunks.isEmpty { return pump(reader) }
        if let report = reading.report { return finish(reader, report) }
        if reader.isStale { return pump(reader) }
        if !reader.follows { letGo(reader, because: .told) }
    }

    private func finish(_ reader: AttachedReader, _ report: [UInt8]) {
        let result: JobResult
        do throws(WireError) {
            result = try JobResult(resultPayload: report)
        } catch {
            result = JobResult(outcome: .hostError("what was kept of the result cannot be read: \(error.message)"))
        }
        drop(reader)
        reader.connection?.finished(reader.number, result)
        reader.letGo()
    }

    func letGo(_ reader: AttachedReader, because reason: LeaveReason) {
        drop(reader)
        reader.connection?.left(reader.number, reason)
        reader.letGo()
    }

    /// Its connection is gone, or has heard that nothing follows.
    func drop(_ reader: AttachedReader) {
        readers[reader.job]?.removeAll { $0 === reader }
        if readers[reader.job]?.isEmpty == true { readers[reader.job] = nil }
    }

    // MARK: Lists and stops

    func list(after: UInt64?, of tenant: Tenant?, answer: @escaping (Answer) -> Void) {
        keep { store throws(JobStoreError) in
            try store.list(tenant, after: after ?? 0, limit: Answer.recordLimit + 1)
        } then: { [self] result in
            if case .failure(let error) = result { dispatcher.log.storeFailed(error) }
            let jobs = (try? result.get()) ?? []
            answer(.detached(Array(jobs.prefix(Answer.recordLimit)), more: jobs.count > Answer.recordLimit))
        }
    }

    /// Ends those of these jobs that wait on the disk and are this user's, or of an operator anybody's.
    func stopWaiting(
        _ ids: [UInt64], for owner: Tenant, isOperator: Bool,
        answer: @escaping ([UInt64: StopAnswer.JobAnswer]) -> Void
    ) {
        keep { store throws(JobStoreError) in
            var stopped: [StoppedJob] = []
            for id in ids {
                guard let job = try store.job(id)?.job, job.state == .waiting, isOperator || job.tenant == owner else {
                    continue
                }
                let result = JobResult(outcome: .cancelled(by: job.tenant == owner ? .user : .operator))
                try store.finish(id, Ending(result))
                stopped.append(StoppedJob(job: job, result: result))
            }
            return stopped
        } then: { [self] result in
            let stopped = (try? result.get()) ?? []
            for one in stopped {
                dispatcher.noteEndOfWaiting(one.job, one.result)
                noteEndMeanwhile(one.job.id)
                notify(one.job.id)
            }
            answer(Dictionary(uniqueKeysWithValues: stopped.map { ($0.job.id, .stopped) }))
        }
    }

    private struct StoppedJob: Sendable {
        let job: DetachedJob
        let result: JobResult
    }

    func forget(_ ids: [UInt64], of tenant: Tenant?, answer: @escaping ([StopAnswer.JobAnswer]) -> Void) {
        keep { store throws(JobStoreError) in
            try store.forget(ids, of: tenant)
        } then: { [self] result in
            if case .failure(let error) = result { dispatcher.log.storeFailed(error) }
            let forgettings = (try? result.get()) ?? ids.map { _ in .unknown }
            for (id, forgetting) in zip(ids, forgettings) where forgetting == .forgotten { forgotten(id) }
            answer(forgettings.map(StopAnswer.JobAnswer.init))
        }
    }

    // MARK: Drain

    /// The worker leaves: nobody waits any more, and what has not begun is left for the next worker.
    func drain() {
        for reader in readers.values.flatMap(\.self) { letGo(reader, because: .drain) }
        for id in feeds.values.flatMap(\.fed).sorted() { dispatcher.leave(JobKey(id)) }
    }
}

/// What the store has for a reader.
struct KeptReading: Sendable {
    var chunks: [OutputPage.Chunk] = []
    var position: OutputPosition
    var hasMore = false
    /// The RESULT message of a job that has ended.
    var report: [UInt8]?

    /// - Parameter room: the most bytes, or nil where no output is wanted. With as many bytes as that, there may be more.
    /// - Returns: nil where there is no such job any more.
    init?(
        of id: UInt64, from position: OutputPosition, atMost room: Int?, in store: JobStore
    ) throws(JobStoreError) {
        self.position = position
        if let room {
            guard let page = try store.output(of: id, from: position, limit: room) else { return nil }
            (chunks, self.position, hasMore) = (page.chunks, page.position, page.hasMore)
        } else if try store.job(id) == nil {
            return nil
        }
        report = try store.result(of: id)
    }
}

extension StopAnswer.JobAnswer {
    fileprivate init(_ forgetting: Forgetting) {
        self =
            switch forgetting {
            case .forgotten: .stopped
            case .unknown: .unknown
            case .unfinished: .unfinished
            }
    }
}
