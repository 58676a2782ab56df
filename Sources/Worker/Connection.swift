// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling
internal import NIOCore

/// One client's connection: its protocol state and the socket it belongs to. Confined to the event loop.
///
/// What the session asks for is carried out here or, where it concerns jobs, by the ``Dispatcher``.
final class Connection {
    let peer: Peer
    var session: ServerSession
    private let channel: any Channel
    /// Refers to this connection until it is closed.
    let dispatcher: Dispatcher
    private(set) var keys: [UInt32: JobKey] = [:]
    /// Detached jobs that this client reads of.
    var readers: [UInt32: AttachedReader] = [:]
    private var handshake: Scheduled<Void>?
    /// Frames that leave together.
    private var outgoing: ByteBuffer
    /// Output among them, of which is told when the socket has taken it.
    private var outgoingOutput: [(source: OutputSource, count: Int)] = []
    /// Whether there is an answer to a request among them.
    private var hasOutgoingAnswer = false
    /// Whether more frames may be there already.
    private var isReading = false
    private var isFlushDue = false
    /// What the dispatcher knows of the bytes that the session holds of uploads.
    private var notedUploads: UInt64 = 0

    init(terms: WorkerTerms, channel: any Channel, peer: Peer, dispatcher: Dispatcher) {
        session = ServerSession(terms: terms)
        (self.channel, self.peer, self.dispatcher) = (channel, peer, dispatcher)
        outgoing = channel.allocator.buffer(capacity: Self.readyBytes)
    }

    /// Room for frames that is there from the start: 4 KiB.
    private static let readyBytes = 4096

    // MARK: From the socket

    /// The worker speaks first, and the client has to answer in time.
    func open() {
        perform(session.open())
        let patience = TimeAmount(ServerSession.handshakeTimeout)
        handshake = channel.eventLoop.assumeIsolated().scheduleTask(in: patience) { [weak self] in
            guard let self else { return }
            perform(countingUploads { $0.handshakeExpired() })
        }
    }

    /// What the frames that are there together bring about leaves together, behind the last of them.
    func receive(_ frame: Frame) {
        isReading = true
        perform(countingUploads { $0.receive(frame) })
        if session.isHandshakeDone { stopWaitingForHandshake() }
    }

    func readComplete() {
        isReading = false
        dispatcher.startHeld()
        if !isFlushDue, outgoing.readableBytes > 0 {
            isFlushDue = dispatcher.willFlush(self)
            if !isFlushDue { flush() }
        }
        dispatcher.noteActivity()
    }

    func framingFailed(_ error: WireError) {
        dispatcher.log.connectionFailed(error.message, peer: peer)
        perform(countingUploads { $0.framingFailed(error) })
    }

    /// The client is gone: nothing can be told to it any more, and its jobs are stopped.
    func closed() {
        stopWaitingForHandshake()
        isReading = false
        // A socket that fails while it is read tells no end of reading.
        dispatcher.startHeld()
        perform(countingUploads { $0.inputClosed() })
        (keys, readers) = ([:], [:])
    }

    /// The client gives no more credit and no more steps, so no result may wait for some.
    private func endCredit() {
        for key in keys.values.sorted() { dispatcher.endCredit(of: key) }
    }

    private func stopWaitingForHandshake() {
        handshake?.cancel()
        handshake = nil
    }

    // MARK: From the dispatcher

    func started(_ job: UInt32, queueNanoseconds: UInt64) {
        perform(session.started(job, queueNanoseconds: queueNanoseconds))
    }

    /// Sends output that the job's gate has let through, and tells the gate when the socket has taken it.
    func output(_ job: UInt32, _ channel: OutputChannel, _ bytes: [UInt8], key: JobKey) {
        output(job, channel, bytes, of: .job(key))
    }

    /// Sends what a client reads of a detached job.
    func output(_ job: UInt32, _ channel: OutputChannel, _ bytes: [UInt8], to reader: AttachedReader) {
        output(job, channel, bytes, of: .reader(reader))
    }

    private func output(_ job: UInt32, _ channel: OutputChannel, _ bytes: [UInt8], of source: OutputSource) {
        guard !bytes.isEmpty else { return }
        outgoingOutput.append((source, bytes.count))
        perform(session.output(job, channel, bytes))
    }

    func inputConsumed(_ job: UInt32, _ count: Int) { perform(session.inputConsumed(job, count)) }

    func paused(_ job: UInt32, _ pause: Pause) { perform(session.paused(job, pause)) }

    func finished(_ job: UInt32, _ result: JobResult) {
        keys[job] = nil
        readers[job] = nil
        perform(session.finished(job, result))
    }

    /// Nothing more is told of a detached job.
    func left(_ job: UInt32, _ reason: LeaveReason) {
        readers[job] = nil
        perform(session.left(job, reason))
    }

    func goAway(_ reason: GoAwayReason) { perform(countingUploads { $0.goAway(reason) }) }

    /// Closes without waiting for the client.
    func abort() { channel.close(promise: nil) }

    // MARK: Actions

    /// Lets the session act, with what all connections together leave for images that are still arriving.
    private func countingUploads(_ act: (inout ServerSession) -> [ServerAction]) -> [ServerAction] {
        session.uploadRoom = dispatcher.uploadRoom
        session.tenantUploadRoom = dispatcher.uploadRoom(of: peer.owner)
        defer { noteUploads() }
        return act(&session)
    }

    /// Tells the dispatcher what the session holds of uploads. After whatever may have changed that.
    private func noteUploads() {
        dispatcher.noteUploads(from: notedUploads, to: session.uploadBytes, of: peer.owner)
        notedUploads = session.uploadBytes
    }

    func perform(_ actions: [ServerAction]) {
        noteUploads()
        for (refusal, spec) in session.takeRefusals() { dispatcher.noteRefusal(refusal, of: spec, from: peer) }
        var starts: [SchedulerAction] = []
        for action in actions {
            switch action {
            case .send(let bytes): outgoing.writeBytes(bytes)
            case .sendAnswer(let bytes):
                outgoing.writeBytes(bytes)
                hasOutgoingAnswer = true
            case .query(let query): answer(query)
            case .stop(let request): answer(request)
            case .lookUp(let job, let digest, let bytes): lookUp(job, digest, bytes)
            case .lookUpLayers(let job, let layers): lookUp(job, layers)
            case .submit(let job, let spec, let source) where spec.detachment != nil: detach(job, spec, source)
            case .submit(let job, let spec, let source):
                starts += submit(job, spec, source)
                if isReading, source.letsInputFollow(of: spec) { dispatcher.holdStarts() }
            case .attach(let job, let request): attach(job, request)
            case .leave(let job): readers[job].map { dispatcher.detached?.letGo($0, because: .asked) }
            case .credit(let job, let bytes): addCredit(bytes, to: job)
            case .input(let job, let bytes, let end): keys[job].map { dispatcher.addInput(bytes, end: end, to: $0) }
            case .cancel(let job, let canceller): cancel(job, by: canceller)
            case .extend(let job, let steps): keys[job].map { dispatcher.extend($0, by: steps) }
            case .stopReading:
                channel.setOption(.autoRead, value: false).assumeIsolated().whenFailure { _ in }
                endCredit()
            case .close: closeWhenWritten()
            }
        }
        // Behind credit and input that came with the submission: a guest finds both when it starts.
        dispatcher.perform(starts)
        guard !isReading, !isFlushDue else { return }
        isFlushDue = dispatcher.willFlush(self)
        if !isFlushDue { flush() }
    }

    /// Hands what has gathered to the socket in one piece.
    func flush() {
        isFlushDue = false
        let written = promiseOfWriting()
        guard outgoing.readableBytes > 0 else {
            written?.succeed()
            return
        }
        let bytes = outgoing
        outgoing = channel.allocator.buffer(capacity: Self.readyBytes)
        channel.writeAndFlush(bytes, promise: written)
    }

    /// Tells the jobs whose output is among the bytes, and the session of its answer, when the socket has taken them; nil if nobody
    /// is to be told.
    private func promiseOfWriting() -> EventLoopPromise<Void>? {
        outgoingOutput.removeAll { !isWaitedFor($0.source) }
        guard !outgoingOutput.isEmpty || hasOutgoingAnswer else { return nil }
        let (output, hasAnswer) = (outgoingOutput, hasOutgoingAnswer)
        (outgoingOutput, hasOutgoingAnswer) = ([], false)
        let written = channel.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { [weak self, weak dispatcher] _ in
            for (source, count) in output { dispatcher?.flushed(count, of: source) }
            if hasAnswer, let self { perform(session.answerWritten()) }
        }
        return written
    }

    /// Closing fails what is still to be written, so it waits behind the last byte.
    private func closeWhenWritten() {
        flush()
        let nothing = channel.allocator.buffer(capacity: 0)
        channel.writeAndFlush(nothing).assumeIsolated().whenComplete { [channel] _ in channel.close(promise: nil) }
    }

    /// Whether there is something more of it to come.
    private func isWaitedFor(_ source: OutputSource) -> Bool {
        switch source {
        case .job(let key): dispatcher.isActive(key)
        case .reader(let reader): reader.connection != nil
        }
    }

    private func lookUp(_ job: UInt32, _ digest: ContentDigest, _ bytes: UInt64) {
        let image = dispatcher.known.image(digest, bytes: bytes, of: peer.tenant)
        dispatcher.noteLookUp(found: image == nil ? 0 : 1, of: 1)
        perform(countingUploads { session in image.map { session.imageFound(job, $0) } ?? session.imageWanted(job) })
    }

    private func lookUp(_ job: UInt32, _ layers: [ProgramSpec.Layer]) {
        let found = layers.map { dispatcher.known.image($0.digest, bytes: $0.bytes, of: peer.tenant) }
        dispatcher.noteLookUp(found: found.count { $0 != nil }, of: found.count)
        perform(countingUploads { $0.layersFound(job, found) })
    }

    /// Tells the client whether the job is accepted; returns what the scheduler wants done then.
    private func submit(_ job: UInt32, _ spec: JobSpec, _ source: JobSource) -> [SchedulerAction] {
        do throws(Refusal) {
            let name: () -> ContentDigest? = { self.session.snapshotName(of: job, source) }
            let admission = try dispatcher.admit(spec, source, named: name, number: job, from: self)
            keys[job] = admission.acceptance.id.map(JobKey.init)
            perform(session.accepted(job, admission.acceptance, snapshotMemoryBytes: admission.memoryBytes))
            return admission.actions
        } catch {
            perform(session.refused(job, error))
            return []
        }
    }
}

extension JobSource {
    /// Whether input that was sent right behind the submission may be there already, and has no image to go ahead of.
    fileprivate func letsInputFollow(of spec: JobSpec) -> Bool {
        if case .snapshot = self { spec.hasInput } else { false }
    }
}
