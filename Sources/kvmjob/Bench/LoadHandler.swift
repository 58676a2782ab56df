// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobTransport
internal import NIOCore

/// What every connection of a load keeps running.
struct LoadOrder: Sendable {
    var spec: JobSpec
    /// With its digest, where the worker shall be asked whether it has the image already.
    var image: Image
    /// Jobs in flight on one connection.
    var window: Int
    var expectation: Expectation
}

/// How much a connection is to do.
enum LoadAmount: Sendable, Hashable {
    /// New jobs until then, and the end of those that run.
    case duration(Duration)
    case jobs(Int)

    /// So many parts, as equal as can be; of fewer jobs than that, one each.
    func parts(_ count: Int) -> [LoadAmount] {
        switch self {
        case .duration(let duration): Array(repeating: .duration(duration / count), count: count)
        case .jobs(let jobs): (0..<min(jobs, count)).map { .jobs(jobs / count + ($0 < jobs % count ? 1 : 0)) }
        }
    }
}

/// One connection of a load: the next job goes out when the result of one has come. Confined to its event loop, on which it
/// also measures, so that no other thread's turn is part of a latency.
///
/// The session is the client library's own; what is left out are its tasks and promises for each job, which cost as
/// much as a small job does.
final class LoadHandler: ChannelInboundHandler {
    typealias InboundIn = Frame

    /// Kept when the worker's HELLO has come and was answered.
    let ready: EventLoopPromise<WorkerTerms>
    /// Jobs that have ended since the connection was made.
    private(set) var finished = 0

    private let order: LoadOrder
    private let patience: Duration
    private var session: ClientSession
    private var context: ChannelHandlerContext?
    private var handshake: Scheduled<Void>?
    private var slice: Slice?
    private var isStopped = false
    private var jobs: [UInt32: Job] = [:]
    /// Jobs whose image is not sent, first the one that is being sent.
    private var uploads: [UInt32] = []
    /// What goes out together when all that has come was looked at.
    private var outgoing = ByteBuffer()
    /// Why the connection ended or will.
    private var failure: CommandFailure?

    private struct Job {
        let submitted = NIODeadline.now()
        var output: [UInt8] = []
        /// Bytes of output that came and were not granted anew.
        var ungranted = 0
    }

    private struct Slice {
        enum Rest { case until(NIODeadline), jobs(Int) }

        var rest: Rest
        var tally = LoadTally()
        let done: EventLoopPromise<LoadTally>

        /// Whether one more job is to be submitted, which then is counted.
        mutating func takesOne() -> Bool {
            switch rest {
            case .until(let instant): return NIODeadline.now() < instant
            case .jobs(let count):
                rest = .jobs(max(0, count - 1))
                return count > 0
            }
        }
    }

    /// - Parameter patience: how long it may take until the worker says HELLO.
    init(_ order: LoadOrder, patience: Duration = ClientSession.handshakeTimeout, eventLoop: any EventLoop) {
        (self.order, self.patience) = (order, patience)
        session = ClientSession(software: "kvmjob \(KVMJobCommand.version) bench")
        ready = eventLoop.makePromise()
    }

    // MARK: From the owner

    /// Keeps as many jobs in flight as the order says until this much is done. One call at a time.
    func run(_ amount: LoadAmount) -> EventLoopFuture<LoadTally> {
        let done = ready.futureResult.eventLoop.makePromise(of: LoadTally.self)
        let rest: Slice.Rest =
            switch amount {
            case .duration(let duration): .until(.now() + TimeAmount(duration))
            case .jobs(let count): .jobs(count)
            }
        slice = Slice(rest: isStopped ? .jobs(0) : rest, done: done)
        fill()
        flush()
        return done.futureResult
    }

    /// Submits nothing more, now and later; what runs is waited for.
    func stop() {
        isStopped = true
        slice?.rest = .jobs(0)
    }

    /// Ends the connection.
    func close(_ failure: CommandFailure) {
        self.failure = self.failure ?? failure
        guard let context else { return lose() }
        context.close(promise: nil)
    }

    // MARK: From the channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        handshake = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(patience)) {
            [weak self, patience] in
            self?.close(.broken("the worker said nothing for \(patience): see its log"))
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { perform(session.receive(unwrapInboundIn(data))) }

    func channelReadComplete(context: ChannelHandlerContext) { flush() }

    func channelWritabilityChanged(context: ChannelHandlerContext) { flush() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? WireError {
            perform(session.framingFailed(error))
        } else {
            close(.broken("the connection to the worker failed: \(error)"))
        }
    }

    func channelInactive(context: ChannelHandlerContext) { lose() }

    // MARK: Jobs

    /// Submits as long as there is room and something to do.
    private func fill() {
        while jobs.count < order.window, slice?.takesOne() == true {
            guard let (number, actions) = session.submit(order.spec, source: .image(order.image)) else {
                return close(failure ?? .broken("the worker takes no more jobs on this connection"))
            }
            jobs[number] = Job()
            if order.image.digest == nil { uploads.append(number) }
            perform(actions)
        }
        if jobs.isEmpty, let ended = slice {
            slice = nil
            ended.done.succeed(ended.tally)
        }
    }

    private func finish(_ number: UInt32, _ result: JobResult) {
        guard let job = jobs.removeValue(forKey: number) else { return }
        let nanoseconds = (NIODeadline.now() - job.submitted).nanoseconds
        finished += 1
        slice?.tally.add(
            result, after: UInt64(max(0, nanoseconds)),
            isExpected: order.expectation.isMet(by: result.outcome, job.output))
        fill()
    }

    /// Output is dropped, or kept as long as it can be what is expected.
    private func take(_ bytes: [UInt8], _ channel: OutputChannel, of number: UInt32) {
        if channel == .console, let expected = order.expectation.output, let count = jobs[number]?.output.count,
            count <= expected.count
        {
            jobs[number]?.output += bytes
        }
        let ungranted = (jobs[number]?.ungranted ?? 0) + bytes.count
        let isMuch = ungranted > ClientSession.defaultOutputWindow / 2
        jobs[number]?.ungranted = isMuch ? 0 : ungranted
        if isMuch { perform(session.grantOutput(number, ungranted)) }
    }

    // MARK: Actions

    private func perform(_ actions: [ClientAction]) {
        for action in actions {
            switch action {
            case .send(let bytes): outgoing.writeBytes(bytes)
            case .imageWanted(let job): uploads.append(job)
            case .ready(let terms): becomeReady(terms)
            case .output(let job, let channel, let bytes): take(bytes, channel, of: job)
            case .finished(let job, let result): finish(job, result)
            case .refused(_, let report):
                close(CommandFailure(message: "refused: \(report.reason)", status: ExitStatus.cannotRun))
            case .goAway: close(.broken("the worker is shutting down and takes no new jobs"))
            case .workerFailed(let report): close(.broken("the worker could not read what was sent: \(report.reason)"))
            case .protocolFailed(let error): close(.broken("the worker's bytes make no sense: \(error.message)"))
            case .accepted, .started, .paused, .attached, .left, .inputDrained, .lost, .answered, .stopped: break
            }
        }
    }

    private func becomeReady(_ terms: WorkerTerms) {
        handshake?.cancel()
        let frames = try? context?.pipeline.syncOperations.handler(type: FrameHandler.self)
        frames?.frameLimit = session.frameLimit
        ready.succeed(terms)
    }

    private func lose() {
        let failure = failure ?? .broken("the worker closed the connection")
        handshake?.cancel()
        ready.fail(failure)
        slice?.done.fail(failure)
        slice = nil
    }

    /// Sends what there is in one write, and images as fast as the socket takes them.
    private func flush() {
        guard let context else { return }
        repeat {
            while let number = uploads.first, outgoing.readableBytes < FrameHeader.largestFrameLimit {
                if let frame = session.nextImageFrame(number) {
                    outgoing.writeBytes(frame)
                } else {
                    uploads.removeFirst()
                }
            }
            guard outgoing.readableBytes > 0 else { return }
            let bytes = outgoing
            // First, since a write can call back into here when the socket has taken it.
            outgoing = ByteBuffer()
            context.writeAndFlush(NIOAny(bytes), promise: nil)
        } while context.channel.isWritable && !uploads.isEmpty
    }
}

extension ErrorReport {
    /// The worker's own words, or else the error's number.
    fileprivate var reason: String { text ?? "error \(code)" }
}

extension CommandFailure {
    /// A fault of kvmjob's, the worker's or the host's.
    static func broken(_ message: String) -> CommandFailure {
        CommandFailure(message: message, status: ExitStatus.broken)
    }
}
