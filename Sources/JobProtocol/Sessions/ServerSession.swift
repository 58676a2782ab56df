// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// The worker's side of one connection: which frames are allowed now, and what they ask for.
///
/// A plain value without a descriptor or a clock: its owner feeds it frames and job events, one at a time, and carries out
/// the actions that come back. Each accepted job gets exactly one RESULT as long as the owner calls
/// ``finished(_:_:)`` once for it; a detached job is the worker's own from ``accepted(_:_:snapshotMemoryBytes:)`` on, and its result goes
/// to whoever attaches to it. What is asked of a job that has ended or was refused does nothing.
public struct ServerSession: Sendable {
    /// The most bytes that are held for incomplete images when the terms allow less for one: 128 MiB.
    public static let defaultUploadLimit: UInt64 = 128 << 20
    /// How long a client may take to send its HELLO; the owner keeps the time.
    public static let handshakeTimeout = Duration.seconds(5)

    enum Phase {
        case awaitingHello
        case open
        /// Nothing more is read: a fatal error, or the client has closed its side.
        case stopped
    }

    let terms: WorkerTerms
    private let uploadLimit: UInt64
    /// Announced bytes of this connection's images that are on their way, and the bytes of detached jobs that are not accepted yet.
    public private(set) var uploadBytes: UInt64 = 0
    /// What the worker's other connections leave for images that are not complete; the owner keeps it up to date.
    public var uploadRoom = UInt64.max
    /// Of it, what its user may still have on the way; likewise.
    public var tenantUploadRoom = UInt64.max
    /// Submissions that were refused since they were last taken, with what they asked for where that is known.
    private var refusals: [(refusal: Refusal, spec: JobSpec?)] = []
    var phase = Phase.awaitingHello
    var isDraining = false
    private var hasClosed = false
    private(set) var client = Hello(frameLimit: FrameHeader.smallestFrameLimit, window: 0)
    var jobs: [UInt32: ServerJob] = [:]
    private var highestJob: UInt32 = 0
    private var lastAccepted: UInt32 = 0
    /// What the client has asked of the worker itself.
    var requests = RequestQueue()

    /// A session before its first frame. `uploadLimit` bounds the announced bytes of all images that are not complete; it
    /// is at least the terms' image limit.
    public init(terms: WorkerTerms, uploadLimit: UInt64 = ServerSession.defaultUploadLimit) {
        self.terms = terms
        self.uploadLimit = max(uploadLimit, terms.imageLimit)
    }

    /// What is sent in place of HELLO on a connection that is one too many, before it is closed.
    ///
    /// - Parameter name: the setting that the limit is the value of, which tells whether it is the worker's or the user's.
    public static func tooManyConnections(limit: Int, name: String = "connections") -> [UInt8] {
        let error = WireError(
            .tooManyConnections, "\(limit) connections are open, as many as the limit \(name) allows",
            limit: UInt64(max(0, limit)), limitName: name)
        var report = ErrorReport(error)
        report.isRetryable = true
        return Message.error(job: 0, report).encode()
    }

    /// Whether the client's HELLO has come.
    public var isHandshakeDone: Bool { phase == .open }
    /// Jobs between SUBMIT and RESULT or refusal, or the acceptance of a detached one, and those that are attached to.
    public var jobsInFlight: Int { jobs.count }

    /// The connection is there: the worker speaks first.
    public mutating func open() -> [ServerAction] { [.send(Message.hello(terms.hello).encode())] }

    /// A frame came from the client.
    public mutating func receive(_ frame: Frame) -> [ServerAction] {
        guard phase != .stopped else { return [] }
        do throws(WireError) {
            if phase == .awaitingHello { return try takeHello(frame) }
            if let type = FrameType(rawValue: frame.header.type), !type.isSentByClient || type == .hello {
                throw WireError(
                    .unexpectedFrame, "a client does not send type \(type.rawValue) here", frameType: type.rawValue)
            }
            if FrameType(rawValue: frame.header.type)?.beginsJob == true { try takeNumber(frame.header) }
            return try handle(Message(frame: frame))
        } catch {
            return error.job == 0 ? fail(error) : [.send(Message.error(job: error.job, ErrorReport(error)).encode())]
        }
    }

    /// The bytes of the client make no frame.
    public mutating func framingFailed(_ error: WireError) -> [ServerAction] { phase == .stopped ? [] : fail(error) }

    /// ``handshakeTimeout`` has passed since the connection came. Does nothing if HELLO came in time.
    public mutating func handshakeExpired() -> [ServerAction] {
        guard phase == .awaitingHello else { return [] }
        return fail(WireError(.handshakeTimeout, "no HELLO came within \(Self.handshakeTimeout)"))
    }

    /// The client closed its sending side, or the connection is gone: its jobs are cancelled, those that wait before those that run.
    public mutating func inputClosed() -> [ServerAction] {
        phase = .stopped
        dropUploads()
        requests.drop()
        dropSubmissions()
        let leaves = dropAttachments()
        return leaves + jobs.keys.sorted(by: >).map { .cancel(job: $0, .disconnect) } + closeIfDone()
    }

    /// The worker takes no more jobs. Incomplete uploads are refused now, later SUBMITs when they come.
    public mutating func goAway(_ reason: GoAwayReason) -> [ServerAction] {
        guard !isDraining, !hasClosed else { return [] }
        isDraining = true
        var actions = [ServerAction.send(Message.goAway(GoAway(reason, lastJob: lastAccepted)).encode())]
        for number in uploads { actions += end(number, Self.drainingRefusal) }
        return actions + closeIfDone()
    }
}

// MARK: - What the worker says of its jobs

extension ServerSession {
    /// The worker has the image that this job's digest names, from this client's user.
    public mutating func imageFound(_ job: UInt32, _ image: [UInt8]) -> [ServerAction] {
        guard let found = jobs[job], found.stage == .lookingUp, found.spec.program == nil else { return [] }
        jobs[job]?.stage = .submitted
        return hand(job, .image(Image(image, digest: found.digest)))
    }

    /// The worker has no such image, or none that this user may use: the client is asked for it, if there is room for its bytes.
    public mutating func imageWanted(_ job: UInt32) -> [ServerAction] {
        guard let found = jobs[job], found.stage == .lookingUp, found.spec.program == nil else { return [] }
        let bytes = found.imageBytes
        if let refusal = uploadRefusal(bytes) { return end(job, refusal) }
        jobs[job]?.awaitImage()
        count(job, bytes)
        return [.send(Message.wantImage(job: job).encode())]
    }

    /// The worker has these of the layers of this job's program, from this client's user, in their order; nil stands for one that it has
    /// not. The client is asked for those, if there is room for their bytes.
    public mutating func layersFound(_ job: UInt32, _ layers: [[UInt8]?]) -> [ServerAction] {
        guard var found = jobs[job], found.stage == .lookingUp, found.spec.program != nil else { return [] }
        let missing = found.awaitLayers(beside: layers)
        if let refusal = uploadRefusal(found.uploadBytes) { return end(job, refusal) }
        jobs[job] = found
        guard let missing else { return handOver(job) }
        count(job, found.uploadBytes)
        return [.send(Message.wantImage(job: job, layers: missing).encode())]
    }

    /// The fields of a job's SUBMIT that its snapshot's name depends on; nil where it is to end as none.
    func namedFields(of job: UInt32) -> [UInt8]? { jobs[job]?.namedFields }

    /// The worker will run the job. Of one from a snapshot it tells how much memory that has. A detached one it keeps, and this
    /// connection has no more to do with it.
    public mutating func accepted(
        _ job: UInt32, _ acceptance: Acceptance, snapshotMemoryBytes: UInt64? = nil
    ) -> [ServerAction] {
        guard jobs[job]?.stage == .submitted else { return [] }
        jobs[job]?.stage = .accepted
        if let snapshotMemoryBytes { jobs[job]?.memoryBytes = snapshotMemoryBytes }
        lastAccepted = max(lastAccepted, job)
        let accepted = ServerAction.send(acceptance.frame(job: job).encode())
        guard jobs[job]?.isDetached == true else { return [accepted] }
        remove(job)
        return [accepted] + closeIfDone()
    }

    /// The worker will not run the job, or knows none that could be attached to. Does nothing once it was accepted, or attached.
    public mutating func refused(_ job: UInt32, _ refusal: Refusal) -> [ServerAction] {
        guard let stage = jobs[job]?.stage, stage.isUndecided else { return [] }
        return end(job, refusal) + closeIfDone()
    }

    /// What has been refused since the last call, by this session or by the worker: to be counted and logged.
    public mutating func takeRefusals() -> [(refusal: Refusal, spec: JobSpec?)] {
        guard !refusals.isEmpty else { return [] }
        defer { refusals.removeAll() }
        return refusals
    }

    /// The guest is about to run, this long after acceptance. Does nothing when it goes on after a pause.
    public mutating func started(_ job: UInt32, queueNanoseconds: UInt64) -> [ServerAction] {
        guard let spec = jobs[job]?.spec, jobs[job]?.stage == .accepted else { return [] }
        jobs[job]?.stage = .started
        var started = Started()
        started.queueNanoseconds = queueNanoseconds
        started.stepBudget = spec.budget.steps
        started.wallBudget = spec.budget.wallTime.wholeNanoseconds
        started.memoryBytes = jobs[job]?.memoryBytes
        return [.send(started.frame(job: job).encode())]
    }

    /// The guest wrote bytes; they go out in frames that the client takes. Does nothing for a job that has not started, and
    /// while it is paused only the memory channel has any.
    ///
    /// The worker keeps to the credit that it was given. If it does not, the bytes beyond are not sent and the connection
    /// ends with the fatal error `internal`: the client must not take a stream with a hole for a whole one.
    public mutating func output(_ job: UInt32, _ channel: OutputChannel, _ bytes: [UInt8]) -> [ServerAction] {
        guard let stage = jobs[job]?.stage,
            stage == .started || stage == .attached || (stage == .paused && channel == .memory),
            let chunk = jobs[job]?.takeOutput(channel, bytes)
        else { return [] }
        let actions = chunk.split(frameLimit: client.frameLimit).map {
            ServerAction.send($0.frame(.output, job: job, channel: channel.rawValue).encode())
        }
        guard chunk.bytes.count < bytes.count, phase != .stopped else { return actions }
        return actions + fail(WireError(.internal, "the worker had more output of job \(job) than credit"))
    }

    /// The guest consumed bytes of its input: the client may send as many more. Each call is a frame, so tell of many bytes
    /// at a time.
    public mutating func inputConsumed(_ job: UInt32, _ count: Int) -> [ServerAction] {
        guard phase == .open, let window = jobs[job]?.grantInput(count) else { return [] }
        return [.send(Message.window(job: job, window).encode())]
    }

    /// The job has used up its steps and waits for an EXTEND. Where none can come, or the SUBMIT did not ask for a pause, the
    /// job is to end at once.
    public mutating func paused(_ job: UInt32, _ pause: Pause) -> [ServerAction] {
        guard jobs[job]?.stage == .started else { return [] }
        guard phase == .open, jobs[job]?.spec.pausesWhenStepsRunOut == true else {
            return [.extend(job: job, steps: 0)]
        }
        jobs[job]?.stage = .paused
        return [.send(Message.paused(job: job, Paused(pause)).encode())]
    }

    /// The job has ended.
    public mutating func finished(_ job: UInt32, _ result: JobResult) -> [ServerAction] {
        guard let found = jobs[job], !found.isIncomplete, found.stage != .submitted, found.stage != .attaching else {
            return []
        }
        remove(job)
        return [.send(ResultReport(result).frame(job: job, limit: client.frameLimit).encode())] + closeIfDone()
    }
}

// MARK: - What the client asks for

extension ServerSession {
    private mutating func takeHello(_ frame: Frame) throws(WireError) -> [ServerAction] {
        guard frame.header.type == FrameType.hello.rawValue else {
            throw WireError(
                .helloExpected, "the first frame is a HELLO, not type \(frame.header.type)",
                frameType: frame.header.type)
        }
        let hello = try Hello(frame)
        guard hello.major == 1 else {
            throw WireError(
                .versionUnsupported, "this worker speaks version 1, not \(hello.major)", frameType: frame.header.type,
                fieldTag: 1, limit: 1, value: UInt64(hello.major))
        }
        client = hello
        phase = .open
        return []
    }

    private mutating func handle(_ message: Message) throws(WireError) -> [ServerAction] {
        switch message {
        case .ping(let bytes): return [.send(Message.pong(bytes).encode())]
        case .pong, .skipped: return []
        case .error(let job, let report): return try takeError(job, report)
        case .window(let job, let window): return try takeWindow(job, window.credit)
        case .submit(let job, let submit): return takeSubmit(job, submit)
        case .image(let job, let chunk): return try takeImage(job, chunk)
        case .input(let job, let chunk): return try takeInput(job, chunk)
        case .cancel(let job): return try takeCancel(job)
        case .extend(let job, let extend): return try takeExtend(job, extend.steps)
        case .attach(let job, let request): return takeAttach(job, request)
        case .leave(let job): return try takeLeave(job)
        case .query(let query): return try ask(.query(query))
        case .stop(let request): return try ask(.stop(request))
        case .hello, .goAway, .accepted, .started, .output, .result, .paused, .wantImage, .attached, .left, .answer,
            .stopped:
            return []
        }
    }

    /// The client cannot read this worker: nothing that is sent from here on reaches it, so its jobs have no use.
    private mutating func takeError(_ job: UInt32, _ report: ErrorReport) throws(WireError) -> [ServerAction] {
        guard job == 0 else {
            throw WireError(
                .unexpectedFrame, "a client refuses no job; this ERROR speaks of job \(job)",
                frameType: FrameType.error.rawValue)
        }
        return [.stopReading] + inputClosed()
    }

    /// Numbers rise strictly, so that one tells a job that has ended from one that never was.
    private mutating func takeNumber(_ header: FrameHeader) throws(WireError) {
        let number = header.job
        guard number > highestJob else {
            throw WireError(
                .badJob, "job \(number) does not rise above job \(highestJob)", frameType: header.type,
                limit: UInt64(highestJob), value: UInt64(number))
        }
        highestJob = number
    }

    private mutating func takeSubmit(_ number: UInt32, _ submit: Submit) -> [ServerAction] {
        if let refusal = refusal(of: submit) {
            return [.send(Message.error(job: number, ErrorReport(refusal)).encode())]
        }
        // A job from a snapshot has no mode of its own.
        guard let mode = submit.from == nil ? GuestMode(rawValue: submit.mode) : .real16 else { return [] }
        let job = ServerJob(
            spec: submit.spec(mode: mode), submit, outputCredit: client.window, inputWindow: terms.inputWindow)
        jobs[number] = job
        switch job.stage {
        case .uploading: count(number, job.uploadBytes)
        // Its input has to be there before it starts, and the image's end says that it is: so the image has to come.
        case .lookingUp where job.needsInputFirst: return imageWanted(number)
        case .lookingUp where job.spec.program != nil:
            return [.lookUpLayers(job: number, job.spec.program?.layers ?? [])]
        case .lookingUp:
            return submit.imageDigest.map { [.lookUp(job: number, digest: $0, bytes: submit.imageBytes)] } ?? []
        default: return submit.from.map { hand(number, .snapshot($0)) } ?? []
        }
        return []
    }

    private func refusal(of submit: Submit) -> Refusal? {
        if let refusal = terms.refusal(of: submit) { return refusal }
        if let refusal = jobLimitRefusal { return refusal }
        // Of an image that the worker may have, nobody waits for bytes so far.
        if submit.imageDigest == nil, submit.program == nil, let refusal = uploadRefusal(submit.imageBytes) {
            return refusal
        }
        return isDraining ? Self.drainingRefusal : nil
    }

    var jobLimitRefusal: Refusal? {
        guard jobs.count >= terms.jobLimit else { return nil }
        return Refusal(
            .tooManyJobs, "\(terms.jobLimit) jobs are in flight on this connection, as many as may be",
            limit: UInt64(terms.jobLimit), value: UInt64(jobs.count) + 1)
    }

    func uploadRefusal(_ bytes: UInt64) -> Refusal? {
        if bytes > tenantUploadRoom {
            return Refusal(
                .tenantLimit,
                "this user's images that are still arriving, and jobs that wait, leave no room for \(bytes) bytes: try again "
                    + "later", limit: tenantUploadRoom, value: bytes, limitName: "tenant-bytes-in-flight",
                retryNanoseconds: Self.uploadRetry)
        }
        guard bytes > min(uploadLimit - uploadBytes, uploadRoom) else { return nil }
        return Refusal(
            .queueFull, "images that are still arriving leave no room for \(bytes) bytes: try again later",
            limit: uploadLimit, value: uploadBytes + bytes, limitName: "bytes-in-flight",
            retryNanoseconds: Self.uploadRetry)
    }

    /// When somebody may try again for whom images on their way left no room: 1 s.
    private static let uploadRetry: UInt64 = 1_000_000_000

    private mutating func takeImage(_ number: UInt32, _ chunk: StreamChunk) throws(WireError) -> [ServerAction] {
        try check(number, .image)
        guard try jobs[number]?.takeImage(chunk) == true else { return [] }
        if let refusal = jobs[number]?.refusalOfLateInput ?? jobs[number]?.digestRefusal { return end(number, refusal) }
        if jobs[number]?.isDetached == false { uncount(number) }
        return handOver(number)
    }

    /// Gives the worker a job all of whose image, or layers, it or the client has had.
    private mutating func handOver(_ number: UInt32) -> [ServerAction] {
        guard let source = jobs[number]?.handOverSource() else { return [] }
        return hand(number, source)
    }

    /// Gives the worker a job that has all that it starts from, with the credit and the input that came meanwhile.
    mutating func hand(_ number: UInt32, _ source: JobSource) -> [ServerAction] {
        if let refusal = holdRefusal(number, source) { return end(number, refusal) }
        if jobs[number]?.awaitInput(beside: source) == true { return [] }
        guard let job = jobs[number] else { return [] }
        var actions = [ServerAction.submit(job: number, spec: job.spec, source: source)]
        if job.isDetached { return actions }
        if job.output.credit > 0 { actions.append(.credit(job: number, bytes: Int(job.output.credit))) }
        if let input = jobs[number]?.releaseInput() {
            actions.append(.input(job: number, bytes: input.bytes, end: input.end))
        }
        return actions
    }

    private mutating func takeInput(_ number: UInt32, _ chunk: StreamChunk) throws(WireError) -> [ServerAction] {
        try check(number, .input)
        guard let input = try jobs[number]?.takeInput(chunk) else { return keepInput(number, chunk.bytes.count) }
        return [.input(job: number, bytes: input.bytes, end: input.end)]
    }

    private mutating func takeWindow(_ number: UInt32, _ credit: UInt32) throws(WireError) -> [ServerAction] {
        try check(number, .window)
        try jobs[number]?.output.add(credit)
        guard let job = jobs[number], !job.isIncomplete, !job.isDetached else { return [] }
        return [.credit(job: number, bytes: Int(credit))]
    }

    private mutating func takeCancel(_ number: UInt32) throws(WireError) -> [ServerAction] {
        try check(number, .cancel)
        guard let job = jobs[number] else { return [] }
        // A detached job that is complete is about to be the worker's own, or refused.
        guard job.isIncomplete else { return job.isDetached ? [] : [.cancel(job: number, .client)] }
        remove(number)
        let error = WireError(.cancelledUpload, "the image was not complete", frameType: FrameType.cancel.rawValue)
        return [.send(Message.error(job: number, ErrorReport(error)).encode())] + closeIfDone()
    }

    /// A job that is not there any more has ended, or was refused, while the EXTEND was on its way.
    private mutating func takeExtend(_ number: UInt32, _ steps: UInt64) throws(WireError) -> [ServerAction] {
        try check(number, .extend)
        guard let stage = jobs[number]?.stage else { return [] }
        guard stage == .paused else {
            throw WireError(
                .unexpectedFrame, "job \(number) is not paused", frameType: FrameType.extend.rawValue)
        }
        jobs[number]?.stage = .started
        return [.extend(job: number, steps: steps)]
    }

    /// A number at or below the highest is a job that is there or was; one above it never was.
    func check(_ number: UInt32, _ type: FrameType) throws(WireError) {
        guard number <= highestJob else {
            throw WireError(.unexpectedFrame, "job \(number) was never submitted", frameType: type.rawValue)
        }
    }
}

// MARK: - Ends

extension ServerSession {
    static var drainingRefusal: Refusal { Refusal(.draining, "the worker is shutting down") }

    mutating func remove(_ number: UInt32) {
        guard let job = jobs.removeValue(forKey: number) else { return }
        uploadBytes -= job.countedBytes
    }

    /// Counts bytes among those on their way until the job has them all, or is gone.
    mutating func count(_ number: UInt32, _ bytes: UInt64) {
        guard jobs[number] != nil else { return }
        jobs[number]?.countedBytes += bytes
        uploadBytes += bytes
    }

    private mutating func uncount(_ number: UInt32) {
        uploadBytes -= jobs[number]?.countedBytes ?? 0
        jobs[number]?.countedBytes = 0
    }

    private var uploads: [UInt32] { jobs.keys.filter { jobs[$0]?.isIncomplete == true }.sorted() }

    private mutating func dropUploads() {
        for number in uploads { remove(number) }
    }

    mutating func end(_ job: UInt32, _ refusal: Refusal) -> [ServerAction] {
        let isAttachment = jobs[job]?.isAttachment == true
        if !isAttachment { refusals.append((refusal, jobs[job]?.spec)) }
        remove(job)
        let report = ErrorReport(refusal, of: isAttachment ? .attach : .submit)
        return [.send(Message.error(job: job, report).encode())]
    }

    mutating func fail(_ error: WireError) -> [ServerAction] {
        phase = .stopped
        dropUploads()
        requests.drop()
        let report = ServerAction.send(Message.error(job: 0, ErrorReport(error)).encode())
        return [report, .stopReading] + dropAttachments() + endPauses() + closeIfDone()
    }

    /// Paused jobs end when no EXTEND can come any more.
    private mutating func endPauses() -> [ServerAction] {
        let paused = jobs.keys.filter { jobs[$0]?.stage == .paused }.sorted()
        for number in paused { jobs[number]?.stage = .started }
        return paused.map { .extend(job: $0, steps: 0) }
    }

    /// What the owner is looking at is still answered; for more a draining worker does not stay.
    mutating func closeIfDone() -> [ServerAction] {
        guard phase == .stopped || isDraining, jobs.isEmpty, !requests.isAsked, !hasClosed else { return [] }
        (hasClosed, phase) = (true, .stopped)
        requests.drop()
        return [.close]
    }
}
