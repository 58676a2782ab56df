// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import JobTransport
import KVMJobClient
import NIOCore
import NIOPosix

/// A worker without machines: the real protocol over a real socket, and a script that says what becomes of jobs.
final class ScriptedWorker: Sendable {
    /// What the worker does about an order, on its event loop.
    typealias Script = @Sendable (ServerAction, inout ServerSession) -> [ServerAction]

    /// Everything that the session asked the worker to do, in order; ends with the connection.
    let orders: AsyncStream<ServerAction>
    private let channel: any Channel
    private let handler: NIOLoopBound<Handler>

    /// A client that is connected to a scripted worker, and the worker.
    static func connect(
        terms: WorkerTerms = .scripted, outputWindow: UInt32 = 64, script: @escaping Script
    ) async throws -> (JobClient, ScriptedWorker) {
        let (ours, theirs) = try UnixSocket.connectedPair()
        let worker = try await ScriptedWorker(descriptor: ours, terms: terms, script: script)
        return (try await JobClient.connect(descriptor: theirs, outputWindow: outputWindow), worker)
    }

    init(descriptor: CInt, terms: WorkerTerms = .scripted, script: @escaping Script) async throws {
        let (orders, continuation) = AsyncStream<ServerAction>.makeStream()
        self.orders = orders
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let handler = try await loop.submit {
            NIOLoopBound(
                Handler(session: ServerSession(terms: terms), script: script, orders: continuation), eventLoop: loop)
        }.get()
        self.handler = handler
        channel = try await FramedSocket.adopt(
            descriptor: descriptor, frameLimit: WorkerTerms.defaultFrameLimit, on: loop
        ) {
            channel, _ in
            try channel.pipeline.syncOperations.addHandler(handler.value)
        }
    }

    /// Lets the worker do something by itself.
    func act(_ body: @escaping @Sendable (inout ServerSession) -> [ServerAction]) {
        let handler = handler
        channel.eventLoop.execute { handler.value.act(body) }
    }

    /// How many frames of this type have come.
    func count(of type: FrameType) async throws -> Int {
        let handler = handler
        return try await channel.eventLoop.submit { handler.value.counts[type.rawValue, default: 0] }.get()
    }

    /// How often the session has asked for an answer.
    func requestsAsked() async throws -> Int {
        let handler = handler
        return try await channel.eventLoop.submit { handler.value.requestsAsked }.get()
    }

    func send(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

    func close() { channel.close(promise: nil) }

    /// While paused, the worker takes nothing from its socket.
    func pause(_ isPaused: Bool) async throws { try await channel.setOption(.autoRead, value: !isPaused).get() }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = Frame

        private(set) var counts: [UInt8: Int] = [:]
        private(set) var requestsAsked = 0
        private var session: ServerSession
        private let script: Script
        private let orders: AsyncStream<ServerAction>.Continuation
        private var context: ChannelHandlerContext?

        init(session: ServerSession, script: @escaping Script, orders: AsyncStream<ServerAction>.Continuation) {
            (self.session, self.script, self.orders) = (session, script, orders)
        }

        func handlerAdded(context: ChannelHandlerContext) {
            self.context = context
            if context.channel.isActive { perform(session.open()) }
        }

        func channelActive(context: ChannelHandlerContext) { perform(session.open()) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let frame = unwrapInboundIn(data)
            counts[frame.header.type, default: 0] += 1
            perform(session.receive(frame))
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            if let error = error as? WireError {
                perform(session.framingFailed(error))
            } else {
                context.close(promise: nil)
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            perform(session.inputClosed())
            self.context = nil
            orders.finish()
        }

        func act(_ body: (inout ServerSession) -> [ServerAction]) { perform(body(&session)) }

        private func sendAnswer(_ bytes: [UInt8]) {
            context?.writeAndFlush(NIOAny(ByteBuffer(bytes: bytes))).assumeIsolated().whenSuccess { [weak self] in
                guard let self else { return }
                perform(session.answerWritten())
            }
        }

        private func perform(_ actions: [ServerAction]) {
            for action in actions {
                switch action {
                case .send(let bytes): context?.writeAndFlush(NIOAny(ByteBuffer(bytes: bytes)), promise: nil)
                case .sendAnswer(let bytes): sendAnswer(bytes)
                case .close: context?.close(promise: nil)
                case .stopReading: context?.channel.setOption(.autoRead, value: false).whenFailure { _ in }
                case .query, .stop:
                    requestsAsked += 1
                    orders.yield(action)
                    perform(script(action, &session))
                case .lookUp, .lookUpLayers, .submit, .credit, .input, .cancel, .extend, .attach, .leave:
                    orders.yield(action)
                    perform(script(action, &session))
                }
            }
        }
    }
}

extension WorkerTerms {
    static let scripted = WorkerTerms(
        inputWindow: 16, jobLimit: 64, slots: 1, modes: [(.real16, .exact), (.linux, .none)], software: "scripted")
}

extension ServerSession {
    /// Accepts a job and starts it at once.
    mutating func run(_ job: UInt32) -> [ServerAction] {
        accepted(job, Acceptance(queuePosition: 0)) + started(job, queueNanoseconds: 1)
    }
}
