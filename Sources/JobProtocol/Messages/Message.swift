// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What a frame means. Every known frame has one message and every message one encoding.
public enum Message: Sendable, Hashable {
    /// Who the sender is and what it takes.
    case hello(Hello)
    /// Asks for a PONG of the same ``pingSize`` bytes.
    case ping([UInt8])
    /// Answers a PING.
    case pong([UInt8])
    /// The worker takes no more jobs.
    case goAway(GoAway)
    /// Job 0: the connection cannot go on. Otherwise the job is refused.
    case error(job: UInt32, ErrorReport)
    /// More credit for a job's stream.
    case window(job: UInt32, Window)
    /// A job; its image follows.
    case submit(job: UInt32, Submit)
    /// Bytes of the image.
    case image(job: UInt32, StreamChunk)
    /// Bytes for the guest to read.
    case input(job: UInt32, StreamChunk)
    /// Stop the job.
    case cancel(job: UInt32)
    /// What becomes of a paused job.
    case extend(job: UInt32, Extend)
    /// The worker took the job.
    case accepted(job: UInt32, Acceptance)
    /// The guest is about to run.
    case started(job: UInt32, Started)
    /// Bytes from the guest.
    case output(job: UInt32, OutputChannel, StreamChunk)
    /// The end of the job.
    case result(job: UInt32, ResultReport)
    /// The job has used up its steps and waits.
    case paused(job: UInt32, Paused)
    /// The worker has no image with the digest that the SUBMIT named, or not these layers of the program: they are to be sent.
    case wantImage(job: UInt32, layers: LayerSet? = nil)
    /// A detached job's output and result are wanted.
    case attach(job: UInt32, AttachRequest)
    /// They are not wanted any more; the job goes on.
    case leave(job: UInt32)
    /// The worker knows the detached job; its output and result follow.
    case attached(job: UInt32, Attached)
    /// The worker tells no more of the detached job.
    case left(job: UInt32, LeaveReason)
    /// Asks the worker about itself.
    case query(Query)
    /// Answers a QUERY.
    case answer(Answer)
    /// Tells the worker to stop jobs, or itself.
    case stop(StopRequest)
    /// Answers a STOP.
    case stopped(StopAnswer)
    /// A type that is not known here and may be ignored.
    case skipped(Frame)

    /// Bytes of a PING.
    public static let pingSize = 8

    /// The meaning of a frame whose header ``FrameReader`` has checked.
    ///
    /// - Throws: what is wrong with the payload. The error's `job` is not 0 only for a SUBMIT that is in order but for a
    ///   critical field that is not known here.
    public init(frame: Frame) throws(WireError) {
        let job = frame.header.job
        guard let type = FrameType(rawValue: frame.header.type) else {
            guard frame.header.type >= FrameType.firstSkippable else {
                throw WireError(.unknownType, "type \(frame.header.type) is not known", frameType: frame.header.type)
            }
            self = .skipped(frame)
            return
        }
        switch type {
        case .hello: self = .hello(try Hello(frame))
        case .ping: self = .ping(try frame.opaque(Self.pingSize))
        case .pong: self = .pong(try frame.opaque(Self.pingSize))
        case .goAway: self = .goAway(try GoAway(frame))
        case .error: self = .error(job: job, try ErrorReport(frame))
        case .window: self = .window(job: job, try Window(frame))
        case .submit: self = .submit(job: job, try Submit(frame))
        case .image: self = .image(job: job, try StreamChunk.decode(frame, channels: [0]).chunk)
        case .input: self = .input(job: job, try StreamChunk.decode(frame, channels: [0]).chunk)
        case .cancel:
            _ = try frame.opaque(0)
            self = .cancel(job: job)
        case .extend: self = .extend(job: job, try Extend(frame))
        case .accepted: self = .accepted(job: job, try Acceptance(frame))
        case .started: self = .started(job: job, try Started(frame))
        case .output:
            let (number, chunk) = try StreamChunk.decode(frame, channels: OutputChannel.allCases.map(\.rawValue))
            self = .output(job: job, OutputChannel(rawValue: number) ?? .console, chunk)
        case .result: self = .result(job: job, try ResultReport(frame))
        case .paused: self = .paused(job: job, try Paused(frame))
        case .wantImage: self = .wantImage(job: job, layers: try LayerSet.decode(frame))
        case .attach: self = .attach(job: job, try AttachRequest(frame))
        case .leave:
            _ = try frame.opaque(0)
            self = .leave(job: job)
        case .attached: self = .attached(job: job, try Attached(frame))
        case .left: self = .left(job: job, try LeaveReason(frame))
        case .query: self = .query(try Query(frame))
        case .answer: self = .answer(try Answer(frame))
        case .stop: self = .stop(try StopRequest(frame))
        case .stopped: self = .stopped(try StopAnswer(frame))
        }
    }

    /// The frame of this message.
    public var frame: Frame {
        switch self {
        case .hello(let hello): hello.frame
        case .ping(let bytes): Frame(.ping, job: 0, payload: bytes)
        case .pong(let bytes): Frame(.pong, job: 0, payload: bytes)
        case .goAway(let goAway): goAway.frame
        case .error(let job, let report): report.frame(job: job)
        case .window(let job, let window): window.frame(job: job)
        case .submit(let job, let submit): submit.frame(job: job)
        case .image(let job, let chunk): chunk.frame(.image, job: job)
        case .input(let job, let chunk): chunk.frame(.input, job: job)
        case .cancel(let job): Frame(.cancel, job: job, payload: [])
        case .extend(let job, let extend): extend.frame(job: job)
        case .accepted(let job, let acceptance): acceptance.frame(job: job)
        case .started(let job, let started): started.frame(job: job)
        case .output(let job, let channel, let chunk): chunk.frame(.output, job: job, channel: channel.rawValue)
        case .result(let job, let report): report.frame(job: job)
        case .paused(let job, let paused): paused.frame(job: job)
        case .wantImage(let job, let layers): LayerSet.frame(layers, job: job)
        case .attach(let job, let request): request.frame(job: job)
        case .leave(let job): Frame(.leave, job: job, payload: [])
        case .attached(let job, let attached): attached.frame(job: job)
        case .left(let job, let reason): reason.frame(job: job)
        case .query(let query): query.frame
        case .answer(let answer): answer.frame()
        case .stop(let request): request.frame
        case .stopped(let answer): answer.frame
        case .skipped(let frame): frame
        }
    }

    /// The bytes on the wire.
    public func encode() -> [UInt8] { frame.encode() }
}

extension Frame {
    /// The payload of a type that always has this many bytes.
    fileprivate func opaque(_ size: Int) throws(WireError) -> [UInt8] {
        guard payload.count == size else {
            throw WireError(
                .fieldSize, "a frame of type \(header.type) has \(size) bytes of payload, not \(payload.count)",
                frameType: header.type, limit: UInt64(size), value: UInt64(payload.count))
        }
        return Array(payload)
    }
}
