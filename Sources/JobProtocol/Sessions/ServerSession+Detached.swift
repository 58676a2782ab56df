// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// Jobs that are handed over, and those that a client comes back for.
extension ServerSession {
    /// The payload of the SUBMIT of a detached job that the worker judges, with the fields that are known here: ``Submit/spec(payload:)``
    /// reads it again. nil for any other job, and once the worker has said what becomes of it.
    public func submission(of job: UInt32) -> [UInt8]? {
        submitted(job)?.submission.map { Array($0.frame(job: job).payload) }
    }

    /// All input of a detached job that the worker judges; empty for any other.
    public func input(of job: UInt32) -> [UInt8] { submitted(job)?.detachedInput ?? [] }

    /// What a detached job that the worker judges is known again by when it is submitted once more under its key; nil for any other.
    /// Takes a pass over its input, and one over the image where its digest is not known.
    public func submissionDigest(of job: UInt32, _ source: JobSource) -> ContentDigest? {
        guard let found = submitted(job), let submission = found.submission else { return nil }
        return ContentDigest(submissionOf: source, fields: submission.definingFields, input: found.detachedInput)
    }

    private func submitted(_ job: UInt32) -> ServerJob? { jobs[job].flatMap { $0.stage == .submitted ? $0 : nil } }

    /// The worker knows the job that was asked for: its output may follow, from where the client said, and its result, with
    /// ``output(_:_:_:)`` and ``finished(_:_:)``; or ``left(_:_:)``.
    public mutating func attached(_ job: UInt32, state: DetachedJob) -> [ServerAction] {
        guard jobs[job]?.stage == .attaching else { return [] }
        jobs[job]?.stage = .attached
        return [.send(Message.attached(job: job, Attached(state)).encode())]
    }

    /// The worker tells no more of an attached job. Does nothing for any other.
    public mutating func left(_ job: UInt32, _ reason: LeaveReason) -> [ServerAction] {
        guard jobs[job]?.isAttachment == true else { return [] }
        remove(job)
        return [.send(Message.left(job: job, reason).encode())] + closeIfDone()
    }
}

extension ServerSession {
    mutating func takeAttach(_ number: UInt32, _ request: AttachRequest) -> [ServerAction] {
        if let refusal = jobLimitRefusal ?? (isDraining ? Self.drainingRefusal : nil) {
            return [.send(Message.error(job: number, ErrorReport(refusal, of: .attach)).encode())]
        }
        jobs[number] = ServerJob(attaching: request, outputCredit: client.window)
        let credit = ServerAction.credit(job: number, bytes: Int(client.window))
        return [.attach(job: number, request)] + (client.window > 0 ? [credit] : [])
    }

    /// A number that is not there any more has had its RESULT, LEFT or refusal while the LEAVE was on its way.
    mutating func takeLeave(_ number: UInt32) throws(WireError) -> [ServerAction] {
        try check(number, .leave)
        guard let job = jobs[number] else { return [] }
        guard job.isAttachment else { throw .unexpected(.leave, "job \(number) is not attached") }
        return [.leave(job: number)]
    }

    /// A detached job's input came: it counts among the bytes on their way, and its window grows by as much.
    mutating func keepInput(_ number: UInt32, _ count: Int) -> [ServerAction] {
        guard let job = jobs[number], job.isDetached else { return [] }
        let bytes = UInt64(job.detachedInput.count)
        if bytes > terms.imageLimit { return end(number, inputRefusal(bytes)) + closeIfDone() }
        if let refusal = uploadRefusal(UInt64(count)) { return end(number, refusal) + closeIfDone() }
        self.count(number, UInt64(count))
        if let source = jobs[number]?.releaseSource() { return hand(number, source) }
        guard let window = jobs[number]?.grantInput(count) else { return [] }
        return [.send(Message.window(job: number, window).encode())]
    }

    private func inputRefusal(_ bytes: UInt64) -> Refusal {
        Refusal(
            .imageTooLarge,
            "a detached job's input is kept, and has at most as many bytes as an image, \(terms.imageLimit)",
            limit: terms.imageLimit, value: bytes)
    }

    /// Why there is no room for what a detached job starts from while its input comes: an image that the worker had is kept for it.
    mutating func holdRefusal(_ number: UInt32, _ source: JobSource) -> Refusal? {
        guard var job = jobs[number], job.isDetached, job.awaitInput(beside: source) else { return nil }
        let came = job.countedBytes - min(job.countedBytes, UInt64(job.detachedInput.count))
        let uncounted = job.imageBytes - min(job.imageBytes, came)
        if let refusal = uploadRefusal(uncounted) { return refusal }
        count(number, uncounted)
        return nil
    }

    /// Submissions that the worker judges are its own to decide, and nobody is there to be told.
    mutating func dropSubmissions() {
        for (number, job) in jobs where job.isDetached { remove(number) }
    }

    /// Who reads nothing more, or is gone, lets go of all that it was attached to.
    mutating func dropAttachments() -> [ServerAction] {
        let numbers = jobs.keys.filter { jobs[$0]?.isAttachment == true }.sorted()
        for number in numbers { remove(number) }
        return numbers.map { .leave(job: $0) }
    }
}
