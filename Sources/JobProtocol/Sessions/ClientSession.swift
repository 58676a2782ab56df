// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// The client's side of one connection: what may be sent now, and what the worker's frames mean.
///
/// A plain value without a descriptor or a clock, like ``ServerSession``. Every job that was submitted ends with exactly one
/// of ``ClientAction/finished(job:_:)``, ``ClientAction/refused(job:_:)`` and ``ClientAction/lost(job:)``; one that is handed over may
/// end with ``ClientAction/accepted(job:_:)``, and one that was attached to with ``ClientAction/left(job:_:)``.
public struct ClientSession: Sendable {
    /// How long a worker may stay silent before a client gives up; the owner keeps the time.
    public static let handshakeTimeout = Duration.seconds(5)
    /// A client's usual largest payload: 64 KiB.
    public static let defaultFrameLimit: UInt32 = 65_536
    /// A client's usual first credit for a job's output: 256 KiB.
    public static let defaultOutputWindow: UInt32 = 262_144

    enum Phase {
        case awaitingHello
        case open
        /// The worker reads nothing more.
        case workerFailed
        case closed
    }

    let hello: Hello
    private(set) var phase = Phase.awaitingHello
    private var isGoingAway = false
    var jobs: [UInt32: ClientJob] = [:]
    var highestJob: UInt32 = 0
    /// What was asked of the worker itself.
    var requests = AskedRequests()
    /// What the worker said in its HELLO.
    public private(set) var terms: WorkerTerms?

    /// A session before its first frame. `frameLimit` is 4096 to 1,048,576; `outputWindow` is at most 2^31-1; with
    /// 0 a job's output begins with ``grantOutput(_:_:)``.
    public init(
        software: String, frameLimit: UInt32 = ClientSession.defaultFrameLimit,
        outputWindow: UInt32 = ClientSession.defaultOutputWindow
    ) {
        precondition((FrameHeader.smallestFrameLimit...FrameHeader.largestFrameLimit).contains(frameLimit))
        precondition(outputWindow <= Hello.largestWindow)
        hello = Hello(frameLimit: frameLimit, window: outputWindow, software: software)
    }

    /// The most bytes of payload that the worker may send now: feed it to ``FrameReader``.
    public var frameLimit: UInt32 { terms == nil ? FrameHeader.smallestFrameLimit : hello.frameLimit }
    /// Jobs between SUBMIT and RESULT or refusal, and those that are attached to.
    public var jobsInFlight: Int { jobs.count }
    /// Whether ``submit(_:source:)`` would submit: the worker is there, takes jobs, and its job limit is not reached.
    public var canSubmit: Bool { isTakingJobs && jobs.count < (terms?.jobLimit ?? 0) && highestJob < .max }
    /// Whether the worker takes jobs at all, perhaps after others have ended.
    public var isTakingJobs: Bool { phase == .open && !isGoingAway }

    /// A frame came from the worker.
    public mutating func receive(_ frame: Frame) -> [ClientAction] {
        guard phase != .closed else { return [] }
        do throws(WireError) {
            if let type = FrameType(rawValue: frame.header.type), !type.isSentByWorker {
                throw .unexpected(type, "a worker does not send this type")
            }
            let message = try Message(frame: frame)
            return phase == .awaitingHello ? try handshake(message) : try handle(message)
        } catch {
            return fail(error)
        }
    }

    /// The bytes of the worker make no frame.
    public mutating func framingFailed(_ error: WireError) -> [ClientAction] { phase == .closed ? [] : fail(error) }

    /// The connection is gone.
    public mutating func connectionClosed() -> [ClientAction] {
        phase = .closed
        requests = AskedRequests()
        defer { jobs = [:] }
        return jobs.keys.sorted().map { .lost(job: $0) }
    }
}

// MARK: - What the caller asks for

extension ClientSession {
    /// Submits a job, or returns nil while ``canSubmit`` is false. Then pull ``nextImageFrame(_:)`` until it returns nil,
    /// as fast as the connection takes it. An image with a digest, and a program's layers, are kept here until the worker says whether
    /// it wants them, and there are no frames of them before ``ClientAction/imageWanted(job:)``. A spec that no SUBMIT can hold, or none that this worker
    /// takes, is refused here: to send it would end the connection.
    public mutating func submit(_ spec: JobSpec, source: JobSource) -> (job: UInt32, actions: [ClientAction])? {
        guard canSubmit, let terms else { return nil }
        highestJob += 1
        let source = source.hashed
        let submit = Submit(spec, source: source)
        let frame = Message.submit(job: highestJob, submit).frame
        if let refusal = spec.wireRefusal ?? submit.stringOrLayerRefusal ?? frame.refusal(frameLimit: terms.frameLimit)
        {
            return (highestJob, [.refused(job: highestJob, ErrorReport(refusal))])
        }
        jobs[highestJob] = ClientJob(
            source: source, spec: spec, outputWindow: hello.window, inputCredit: terms.inputWindow)
        return (highestJob, [.send(frame.encode())])
    }

    /// The bytes of the next IMAGE frame of a job, or nil when the image is complete, not wanted so far, or the job has ended.
    public mutating func nextImageFrame(_ job: UInt32) -> [UInt8]? {
        guard phase == .open, let limit = terms?.frameLimit, let chunk = jobs[job]?.nextImageChunk(frameLimit: limit)
        else { return nil }
        return Message.image(job: job, chunk).encode()
    }

    /// Gives the guest input. What goes beyond the worker's credit is queued here;
    /// ``ClientAction/inputDrained(job:)`` says when all is on its way. Nothing happens after `end`, for a job whose spec
    /// has no input, or for one that has ended.
    public mutating func sendInput(_ job: UInt32, _ bytes: [UInt8], end: Bool) -> [ClientAction] {
        jobs[job]?.queueInput(bytes, end: end)
        return flushInput(job)
    }

    /// The worker may send this many bytes of the job's output more, usually since as many were used. Each call is a frame,
    /// so give many bytes at a time.
    public mutating func grantOutput(_ job: UInt32, _ count: Int) -> [ClientAction] {
        guard phase == .open, let window = jobs[job]?.grantOutput(count) else { return [] }
        return [.send(Message.window(job: job, window).encode())]
    }

    /// Asks the worker to stop the job. Its end still follows.
    public mutating func cancel(_ job: UInt32) -> [ClientAction] {
        guard phase == .open, jobs[job] != nil else { return [] }
        return [.send(Message.cancel(job: job).encode())]
    }

    /// Lets a paused job take this many steps more; with 0 it ends. Does nothing for a job that is not paused.
    public mutating func extend(_ job: UInt32, steps: UInt64) -> [ClientAction] {
        guard phase == .open, jobs[job]?.stage == .paused else { return [] }
        jobs[job]?.stage = .started
        return [.send(Message.extend(job: job, Extend(steps: steps)).encode())]
    }

    /// Asks the worker for a PONG of these ``Message/pingSize`` bytes, which does not come back as an action.
    public mutating func ping(_ bytes: [UInt8]) -> [ClientAction] {
        precondition(bytes.count == Message.pingSize)
        return phase == .open ? [.send(Message.ping(bytes).encode())] : []
    }

    private mutating func flushInput(_ job: UInt32) -> [ClientAction] {
        guard phase == .open, let limit = terms?.frameLimit, jobs[job] != nil else { return [] }
        let chunks = jobs[job]?.nextInput()?.split(frameLimit: limit) ?? []
        let actions = chunks.map { ClientAction.send(Message.input(job: job, $0).encode()) }
        return jobs[job]?.hasQueuedInput == true ? actions : actions + [.inputDrained(job: job)]
    }
}

// MARK: - What the worker says

extension ClientSession {
    private mutating func handshake(_ message: Message) throws(WireError) -> [ClientAction] {
        switch message {
        case .hello(let worker):
            guard worker.major == hello.major else {
                throw WireError(
                    .versionUnsupported, "the worker speaks version \(worker.major).\(worker.minor), this side 1.0",
                    frameType: FrameType.hello.rawValue, limit: 1, value: UInt64(worker.major))
            }
            let terms = WorkerTerms(worker)
            self.terms = terms
            phase = .open
            return [.send(Message.hello(hello).encode()), .ready(terms)]
        case .error(job: 0, let report):
            phase = .workerFailed
            return [.workerFailed(report)]
        default:
            throw WireError(
                .helloExpected, "the first frame is a HELLO, not type \(message.frame.header.type)",
                frameType: message.frame.header.type)
        }
    }

    private mutating func handle(_ message: Message) throws(WireError) -> [ClientAction] {
        switch message {
        case .ping(let bytes): return phase == .open ? [.send(Message.pong(bytes).encode())] : []
        case .pong, .skipped: return []
        case .goAway(let goAway):
            isGoingAway = true
            return [.goAway(goAway)]
        case .error(job: 0, let report):
            phase = .workerFailed
            requests = AskedRequests()
            return [.workerFailed(report)]
        case .error(let job, let report):
            try advance(job, .error, from: [.submitted, .attaching])
            jobs[job] = nil
            return [.refused(job: job, report)]
        case .window(let job, let window): return try takeWindow(job, window.credit)
        case .accepted(let job, let acceptance): return try takeAccepted(job, acceptance)
        case .started(let job, let started):
            try advance(job, .started, from: [.accepted], to: .started)
            return [.started(job: job, started)]
        case .output(let job, let channel, let chunk): return try takeOutput(job, channel, chunk)
        case .result(let job, let report):
            try advance(job, .result, from: [.accepted, .started, .paused, .attached])
            jobs[job] = nil
            return [.finished(job: job, report.jobResult)]
        case .paused(let job, let paused): return try takePaused(job, paused)
        case .wantImage(let job, let layers): return try takeWantImage(job, layers)
        case .attached(let job, let attached): return try takeAttached(job, attached)
        case .left(let job, let reason): return try takeLeft(job, reason)
        case .hello: throw .unexpected(.hello, "a second HELLO")
        case .answer(let answer): return try takeAnswer(answer)
        case .stopped(let answer): return try takeAnswer(answer)
        case .submit, .image, .input, .cancel, .extend, .attach, .leave, .query, .stop: return []
        }
    }

    private mutating func takeAccepted(_ job: UInt32, _ acceptance: Acceptance) throws(WireError) -> [ClientAction] {
        try advance(job, .accepted, from: [.submitted], to: .accepted)
        guard jobs[job]?.releaseImage() == true else {
            throw .unexpected(.accepted, "job \(job) was accepted before its image, or its input, was complete")
        }
        if jobs[job]?.isDetached == true { jobs[job] = nil }
        return [.accepted(job: job, acceptance)]
    }

    private mutating func takeWantImage(_ job: UInt32, _ layers: LayerSet?) throws(WireError) -> [ClientAction] {
        try advance(job, .wantImage, from: [.submitted])
        guard try jobs[job]?.sendImage(layers) == true else {
            throw .unexpected(.wantImage, "job \(job) named no digest, or its image was asked for before")
        }
        return [.imageWanted(job: job)]
    }

    private mutating func takeOutput(
        _ job: UInt32, _ channel: OutputChannel, _ chunk: StreamChunk
    ) throws(WireError) -> [ClientAction] {
        try advance(job, .output, from: channel == .memory ? [.started, .attached, .paused] : [.started, .attached])
        try jobs[job]?.takeOutput(channel, chunk)
        return chunk.bytes.isEmpty ? [] : [.output(job: job, channel, chunk.bytes)]
    }

    private mutating func takePaused(_ job: UInt32, _ paused: Paused) throws(WireError) -> [ClientAction] {
        try advance(job, .paused, from: [.started], to: .paused)
        guard jobs[job]?.canPause == true else { throw .unexpected(.paused, "job \(job) did not ask for a pause") }
        return [.paused(job: job, paused.pause)]
    }

    private mutating func takeWindow(_ job: UInt32, _ credit: UInt32) throws(WireError) -> [ClientAction] {
        guard job <= highestJob else { throw .unexpected(.window, "job \(job) was never submitted") }
        try jobs[job]?.addInputCredit(credit)
        return jobs[job]?.hasQueuedInput == true ? flushInput(job) : []
    }

    /// Checks that the job is at a stage where this type may come, and moves it on.
    mutating func advance(
        _ job: UInt32, _ type: FrameType, from stages: [ClientJob.Stage], to next: ClientJob.Stage? = nil
    ) throws(WireError) {
        guard let stage = jobs[job]?.stage else { throw .unexpected(type, "job \(job) is not in flight") }
        guard stages.contains(stage) else { throw .unexpected(type, "job \(job) is \(stage)") }
        if let next { jobs[job]?.stage = next }
    }

    private mutating func fail(_ error: WireError) -> [ClientAction] {
        let report = ClientAction.send(Message.error(job: 0, ErrorReport(error)).encode())
        return [report, .protocolFailed(error)] + connectionClosed()
    }
}

extension JobSpec {
    /// What is wrong with lists that are longer than the wire's, and with values that it has no room for.
    fileprivate var wireRefusal: Refusal? {
        if let refusal = detachment?.wireRefusal { return refusal }
        if snapshot == .steps(0) {
            return Refusal(.invalidField, "a snapshot is taken after at least one step", limit: 1, value: 0)
        }
        if !JobPriority.range.contains(priority) {
            return Refusal(
                .invalidField, "a priority is 0 to \(JobPriority.range.upperBound), not \(priority)",
                limit: UInt64(JobPriority.range.upperBound), value: UInt64(priority))
        }
        let lists = [
            (pieces, "pieces of the image", MemoryRange.pieceLimit), (dumps, "memory windows", MemoryRange.dumpLimit),
        ]
        for (list, name, limit) in lists where list.count > limit {
            return Refusal(
                .invalidField, "\(list.count) \(name) are above the limit of \(limit)", limit: UInt64(limit),
                value: UInt64(list.count))
        }
        return nil
    }
}

extension Submit {
    /// What is wrong with a program's strings or layers, which may be more than the wire has room for.
    fileprivate var stringOrLayerRefusal: Refusal? {
        programSpec.flatMap { $0.stringRefusal ?? (from == nil ? $0.layerRefusal : nil) }
    }
}

extension JobSource {
    /// The same with a digest of each of a program's layers.
    fileprivate var hashed: JobSource {
        guard case .program(let layers) = self else { return self }
        return .program(layers.map(\.hashed))
    }
}

extension Frame {
    fileprivate func refusal(frameLimit: UInt32) -> Refusal? {
        guard header.length > frameLimit else { return nil }
        return Refusal(
            .invalidField, "the submission has \(header.length) bytes; this worker takes \(frameLimit) in a frame",
            limit: UInt64(frameLimit), value: UInt64(header.length))
    }
}

extension WireError {
    static func unexpected(_ type: FrameType, _ message: String) -> WireError {
        WireError(.unexpectedFrame, "\(message) (type \(type.rawValue))", frameType: type.rawValue)
    }
}
