// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobTransport
internal import NIOCore

/// A client's end of the connection: the protocol's state, the jobs it belongs to, and those that wait for room. Confined to the
/// event loop.
final class ClientHandler: ChannelInboundHandler {
    typealias InboundIn = Frame

    /// Kept when the worker's HELLO has come and was answered.
    let ready: EventLoopPromise<WorkerTerms>

    private var session: ClientSession
    private var context: ChannelHandlerContext?
    private var jobs: [UInt32: Job] = [:]
    private var numbers: [ObjectIdentifier: UInt32] = [:]
    private var waiting: [Submission] = []
    /// Who waits for an answer of the worker's about itself, in the order of asking.
    private var asked: [Asked] = []
    /// Jobs whose image is not sent, first the one that is being sent.
    private var uploads: [UInt32] = []
    private var handshake: Scheduled<Void>?
    private var isClosed = false
    private var isStarting = false
    private var isGoingAway = false
    /// Of a worker that goes away: the highest job that it took.
    private var lastTaken: UInt32?
    /// Why the connection ended or will: what jobs that are lost are told.
    private var failure: JobClientError?

    private struct Job {
        let handle: JobHandle
        var isCancelled = false
        var input: [EventLoopPromise<Void>] = []
        var inputHasEnded: Bool
    }

    /// What was asked of the worker.
    enum Asked {
        case query(EventLoopPromise<Answer>)
        case stop(EventLoopPromise<StopAnswer>)

        func fail(_ error: any Error) {
            switch self {
            case .query(let promise): promise.fail(error)
            case .stop(let promise): promise.fail(error)
            }
        }
    }

    /// A job that waits for room, and what goes to the worker before its guest starts.
    struct Submission {
        let handle: JobHandle
        /// nil of a job that is attached to.
        let source: JobSource?
        /// Sent before the image, so that the guest finds it whenever it looks.
        let firstInput: [UInt8]
        let inputEnds: Bool

        init(handle: JobHandle, source: JobSource, firstInput: [UInt8], inputEnds: Bool) {
            (self.handle, self.source, self.firstInput, self.inputEnds) = (handle, source, firstInput, inputEnds)
        }

        init(attaching handle: JobHandle) {
            (self.handle, source, firstInput, inputEnds) = (handle, nil, [], true)
        }
    }

    init(software: String, outputWindow: UInt32, eventLoop: any EventLoop) {
        session = ClientSession(software: software, outputWindow: outputWindow)
        ready = eventLoop.makePromise()
    }

    // MARK: From the channel

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { perform(session.receive(unwrapInboundIn(data))) }

    func channelWritabilityChanged(context: ChannelHandlerContext) { pumpUploads() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? WireError {
            perform(session.framingFailed(error))
        } else {
            close(JobClientError(.connectionLost, "the connection to the worker failed: \(error)", isRetryable: true))
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        isClosed = true
        perform(session.connectionClosed())
        failWaiting()
        failAsked()
    }

    /// Gives the worker this long to say HELLO.
    func awaitHello(_ patience: Duration) {
        guard let eventLoop = context?.eventLoop, session.terms == nil, !isClosed else { return }
        handshake = eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(patience)) { [weak self] in
            self?.close(
                JobClientError(
                    .silentWorker,
                    "the connection was made, and the worker said nothing for \(patience): it ends its last jobs before a restart, "
                        + "or cannot start; see its log", isRetryable: true))
        }
    }

    /// Ends the connection; every job that is not finished fails with this error, if it is the first.
    func close(_ error: JobClientError) {
        failure = failure ?? error
        guard let context else {
            failAsked()
            return failWaiting()
        }
        context.close(promise: nil)
    }

    // MARK: From the caller

    func enqueue(_ submission: Submission) {
        waiting.append(submission)
        startWaiting()
    }

    func cancel(_ handle: JobHandle) {
        if let index = waiting.firstIndex(where: { $0.handle === handle }) {
            waiting.remove(at: index).handle.finish(.failure(CancellationError()))
        } else if let number = numbers[handle.key], jobs[number]?.isCancelled == false {
            jobs[number]?.isCancelled = true
            uploads.removeAll { $0 == number }
            perform(session.cancel(number))
        }
    }

    /// Lets go of a job that is attached to, or was to be.
    func leave(_ handle: JobHandle) {
        if let index = waiting.firstIndex(where: { $0.handle === handle }) {
            waiting.remove(at: index).handle.finish(.failure(CancellationError()))
        } else if let number = numbers[handle.key] {
            perform(session.leave(number))
        }
    }

    func extend(_ handle: JobHandle, steps: UInt64) {
        guard let number = numbers[handle.key] else { return }
        let actions = session.extend(number, steps: steps)
        if !actions.isEmpty { handle.buffer.forgetPause() }
        perform(actions)
    }

    func grantOutput(_ count: Int, to identity: JobHandle.Identity) {
        guard let number = numbers[ObjectIdentifier(identity)] else { return }
        perform(session.grantOutput(number, count))
    }

    func sendInput(_ bytes: [UInt8], end: Bool, to handle: JobHandle, sent: EventLoopPromise<Void>) {
        guard let number = numbers[handle.key], jobs[number]?.inputHasEnded == false else {
            return sent.fail(
                JobClientError(.inputNotTaken, "the job has ended, has no input, or its input has been finished"))
        }
        jobs[number]?.input.append(sent)
        jobs[number]?.inputHasEnded = end
        perform(session.sendInput(number, bytes, end: end))
    }

    func ask(_ query: Query, _ promise: EventLoopPromise<Answer>) { send(session.query(query), .query(promise)) }

    func ask(_ request: StopRequest, _ promise: EventLoopPromise<StopAnswer>) {
        send(session.stop(request), .stop(promise))
    }

    private func send(_ actions: [ClientAction]?, _ request: Asked) {
        guard let actions else { return request.fail(failure ?? .connectionClosed) }
        asked.append(request)
        perform(actions)
    }

    /// The session tells of answers in the order in which it was asked.
    private func takeAsked() -> Asked? { asked.isEmpty ? nil : asked.removeFirst() }

    private func failAsked() {
        let lost = asked
        asked = []
        for request in lost { request.fail(failure ?? .connectionClosed) }
    }

    // MARK: Jobs

    /// Submits what waits, as long as the worker's job limit has room.
    private func startWaiting() {
        guard !isClosed, session.isTakingJobs else { return failWaiting() }
        guard !isStarting else { return }  // A job that is refused at once ends within the loop, which then goes on.
        isStarting = true
        defer { isStarting = false }
        while let next = waiting.first, let (number, actions) = begin(next) {
            let handle = waiting.removeFirst().handle
            jobs[number] = Job(handle: handle, inputHasEnded: !handle.spec.hasInput || next.inputEnds)
            numbers[handle.key] = number
            if next.source != nil { uploads.append(number) }
            // In one piece: where no image follows, the worker looks for input right behind the submission.
            let hasInput = handle.spec.hasInput && (next.inputEnds || !next.firstInput.isEmpty)
            perform(actions + (hasInput ? session.sendInput(number, next.firstInput, end: next.inputEnds) : []))
        }
        pumpUploads()
    }

    private func begin(_ next: Submission) -> (job: UInt32, actions: [ClientAction])? {
        if let request = next.handle.attachment?.request { return session.attach(request) }
        return next.source.flatMap { session.submit(next.handle.spec, source: $0) }
    }

    private func failWaiting() {
        let error = failure ?? (isGoingAway ? Self.goingAway : .connectionClosed)
        let lost = waiting
        waiting = []
        for submission in lost { submission.handle.finish(.failure(error)) }
    }

    private static var goingAway: JobClientError {
        JobClientError(.goingAway, "the worker is shutting down and takes no new jobs", isRetryable: true)
    }

    /// Sends images as fast as the socket takes them, one after the other.
    private func pumpUploads() {
        guard let context else { return }
        while let number = uploads.first, context.channel.isWritable {
            if let frame = session.nextImageFrame(number) {
                context.writeAndFlush(buffer(frame, context), promise: nil)
            } else {
                uploads.removeFirst()
            }
        }
    }

    private func finish(_ number: UInt32, _ result: Result<JobResult, any Error>) {
        end(number) { $0.finish(result) }
    }

    private func end(_ number: UInt32, _ tell: (JobHandle) -> Void) {
        guard let job = jobs.removeValue(forKey: number) else { return }
        numbers[job.handle.key] = nil
        uploads.removeAll { $0 == number }
        let unsent = JobClientError(.inputNotTaken, "the job ended before it took this input")
        for promise in job.input { promise.fail(unsent) }
        tell(job.handle)
        startWaiting()
    }

    // MARK: Actions

    /// What is sent leaves in one piece, behind the last action.
    private func perform(_ actions: [ClientAction]) {
        for action in actions { perform(action) }
        context?.flush()
        if isClosed { ready.fail(failure ?? .connectionClosed) }
    }

    private func perform(_ action: ClientAction) {
        switch action {
        case .send(let bytes): context.map { $0.write(buffer(bytes, $0), promise: nil) }
        case .imageWanted(let job): sendImage(job)
        case .ready(let terms): becomeReady(terms)
        case .accepted(let job, let acceptance): accept(job, acceptance)
        case .refused(let job, let report): refuse(job, report)
        case .started(let job, let started): jobs[job]?.handle.start.succeed(JobStart(started))
        case .output(let job, let channel, let bytes):
            jobs[job]?.handle.buffer.append(OutputChunk(channel: channel, bytes: bytes))
        case .paused(let job, let pause): jobs[job]?.handle.buffer.append(pause)
        case .finished(let job, let result): finish(job, .success(result))
        case .attached(let job, let attached): jobs[job]?.handle.attachment?.attached.succeed(attached)
        case .left(let job, let reason): end(job) { $0.finish(left: reason) }
        case .inputDrained(let job): inputSent(job)
        case .answered(let answer):
            if case .query(let promise)? = takeAsked() { promise.succeed(answer) }
        case .stopped(let answer):
            if case .stop(let promise)? = takeAsked() { promise.succeed(answer) }
        case .goAway(let goAway):
            (isGoingAway, lastTaken) = (true, goAway.lastJob)
            failWaiting()
        case .workerFailed(let report): workerFailed(JobClientError(fatal: report))
        case .protocolFailed(let error): protocolFailed(JobClientError(error))
        case .lost(let job): finish(job, .failure(reason(losing: job)))
        }
    }

    /// A detached job is the worker's from here on.
    private func accept(_ job: UInt32, _ acceptance: Acceptance) {
        guard let handle = jobs[job]?.handle, handle.spec.detachment != nil else {
            jobs[job]?.handle.acceptance.succeed(acceptance)
            return
        }
        end(job) { $0.handOver(acceptance) }
    }

    /// A worker that goes away says which jobs it took: of the others nothing was lost but the way there.
    private func reason(losing job: UInt32) -> JobClientError {
        if jobs[job]?.handle.attachment != nil { return failure ?? .attachmentLost }
        if let lastTaken, job > lastTaken { return Self.goingAway }
        return failure ?? .jobLost
    }

    private func becomeReady(_ terms: WorkerTerms) {
        handshake?.cancel()
        let frames = try? context?.pipeline.syncOperations.handler(type: FrameHandler.self)
        frames?.frameLimit = session.frameLimit
        ready.succeed(terms)
    }

    /// The worker asked for it; of a job that is being cancelled it is not sent.
    private func sendImage(_ number: UInt32) {
        guard jobs[number]?.isCancelled == false else { return }
        uploads.append(number)
        pumpUploads()
    }

    private func refuse(_ number: UInt32, _ report: ErrorReport) {
        let isOurs = jobs[number]?.isCancelled == true && report.knownCode == .cancelledUpload
        finish(number, .failure(isOurs ? CancellationError() : JobClientError(refusal: report)))
    }

    private func inputSent(_ number: UInt32) {
        let sent = jobs[number]?.input ?? []
        jobs[number]?.input = []
        for promise in sent { promise.succeed() }
    }

    /// The worker reads nothing more, but tells the results of the jobs that it accepted and closes.
    private func workerFailed(_ error: JobClientError) {
        failure = failure ?? error
        handshake?.cancel()
        ready.fail(error)
        failWaiting()
        failAsked()
    }

    private func protocolFailed(_ error: JobClientError) {
        failure = failure ?? error
        handshake?.cancel()
        ready.fail(error)
        failAsked()
        // Behind the ERROR that the session has sent just before.
        guard let context else { return }
        let channel = context.channel
        context.writeAndFlush(NIOAny(ByteBuffer())).assumeIsolated().whenComplete { _ in channel.close(promise: nil) }
    }

    private func buffer(_ bytes: [UInt8], _ context: ChannelHandlerContext) -> NIOAny {
        NIOAny(context.channel.allocator.buffer(bytes: bytes))
    }
}

extension JobStart {
    init(_ started: Started) {
        self.init(
            queueNanoseconds: started.queueNanoseconds, stepBudget: started.stepBudget,
            wallBudgetNanoseconds: started.wallBudget, memoryBytes: started.memoryBytes)
    }
}
