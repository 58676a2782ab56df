// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
public import JobProtocol
internal import JobTransport
internal import KVM
public import Logging
public import NIOCore
internal import NIOPosix
internal import VMRuntime

/// A worker: takes jobs from connections and runs each in its own virtual machine.
///
/// The same worker serves as the daemon and inside the command-line tool's own process. Everything but the guests happens on one
/// event loop; each guest runs on its slot's thread.
public final class Worker: Sendable {
    /// How long a drain waits, after its grace time, for clients to read their last results: 5 s.
    public static let farewell = TimeAmount.seconds(5)

    /// The event loop that everything but the guests runs on. A watchdog belongs here.
    public let eventLoop: any EventLoop
    private let dispatcher: NIOLoopBound<Dispatcher>
    private let listeners: NIOLoopBoundBox<[any Channel]>

    /// Opens KVM, finds out what it does, and starts the slots. Blocks for some ten milliseconds; not to be called on an event loop.
    ///
    /// - Throws: ``WorkerStartError``, whose description tells a person what to do.
    public init(
        configuration: WorkerConfiguration, group: any EventLoopGroup, logger: Logger
    ) throws(WorkerStartError) {
        guard (1...WorkerLimits.maximumSlots).contains(configuration.slots) else {
            throw .slots(configuration.slots)
        }
        let backend = try Result<Backend, KVMError> { () throws(KVMError) in try Backend() }
            .mapError { WorkerStartError.kvm($0) }.get()
        UnixSocket.ignoreBrokenPipes()
        let loop = group.next()
        let log = WorkerLog(logger: logger, jobs: configuration.jobLogging)
        eventLoop = loop
        dispatcher = Self.onLoop(loop) {
            Dispatcher(configuration: configuration, backend: backend, eventLoop: loop, log: log)
        }
        listeners = NIOLoopBoundBox.makeBoxSendingValue([], eventLoop: loop)
    }

    // MARK: Sockets

    /// Listens at a path. A socket file that nobody serves is replaced.
    ///
    /// - Throws: `SocketError`.
    public func listen(path: String) async throws {
        try await keep(
            FramedSocket.listen(
                path: path, frameLimit: WorkerTerms.defaultFrameLimit, on: eventLoop, initializer: makeInitializer()))
    }

    /// Serves a listening socket that the service manager made. Takes the descriptor over.
    public func listen(descriptor: CInt) async throws {
        try await keep(
            FramedSocket.listen(
                descriptor: descriptor, frameLimit: WorkerTerms.defaultFrameLimit, on: eventLoop,
                initializer: makeInitializer()))
    }

    /// Serves one connected socket and returns when that connection is over. Takes the descriptor over.
    public func serve(descriptor: CInt) async throws {
        let channel = try await FramedSocket.adopt(
            descriptor: descriptor, frameLimit: WorkerTerms.defaultFrameLimit, on: eventLoop,
            initializer: makeInitializer())
        try await channel.closeFuture.get()
    }

    private func keep(_ listener: any Channel) async throws {
        let listeners = listeners
        try await eventLoop.submit { listeners.value.append(listener) }.get()
    }

    private func makeInitializer() -> FramedSocket.Initializer {
        let dispatcher = dispatcher
        return { channel, credentials in
            let peer = Peer(process: credentials?.process, user: credentials?.user)
            if let limit = dispatcher.value.refusal(of: peer) {
                return dispatcher.value.turnAway(channel, peer: peer, for: limit)
            }
            let handler = ConnectionHandler(dispatcher: dispatcher.value, peer: peer)
            try channel.pipeline.syncOperations.addHandler(handler)
        }
    }

    // MARK: Status and end

    /// What an operator's request to leave does: it is to bring ``drain(grace:reason:)`` about. Without it such requests are denied.
    public func whenToldToDrain(_ handler: @escaping @Sendable () -> Void) {
        let dispatcher = dispatcher
        eventLoop.execute { dispatcher.value.drainHandler = handler }
    }

    /// What the process has given up by now, for whoever asks.
    public func noteConfinement(_ confinement: Confinement) {
        let dispatcher = dispatcher
        eventLoop.execute { dispatcher.value.confinement = confinement }
    }

    /// What the worker is doing now.
    public var status: WorkerStatus {
        get async {
            let dispatcher = dispatcher
            // The event loop answers as long as its owner has not shut it down, which comes after the worker's end.
            return await withCheckedContinuation { continuation in
                eventLoop.execute { continuation.resume(returning: dispatcher.value.status) }
            }
        }
    }

    /// Takes no more jobs and returns when every accepted job has its result and every client has read it.
    ///
    /// Jobs may finish within the grace time; what is left is cancelled. A paused job ends at once, as one whose steps are used up:
    /// nobody may keep the worker from leaving by thinking. A client that does not read its last results within
    /// ``farewell`` after that is cut off.
    ///
    /// - Parameter reason: what clients are told.
    public func drain(grace: Duration, reason: GoAwayReason = .drain) async {
        let dispatcher = dispatcher
        let listeners = listeners
        let done = eventLoop.makePromise(of: Void.self)
        eventLoop.execute {
            listeners.value.forEach { $0.close(promise: nil) }
            listeners.value = []
            dispatcher.value.drain(done, reason)
            dispatcher.value.endDrain(after: TimeAmount(grace), farewell: Self.farewell)
        }
        try? await done.futureResult.get()
    }

    /// Takes no more connections if there is nobody to serve now, and says whether that was so. A client that came since the owner
    /// last looked is served; one that comes later waits in the socket, for the next worker.
    public func stopListeningIfIdle() async -> Bool {
        let dispatcher = dispatcher
        let listeners = listeners
        return await withCheckedContinuation { continuation in
            eventLoop.execute {
                guard dispatcher.value.status.idleSince != nil else { return continuation.resume(returning: false) }
                listeners.value.forEach { $0.close(promise: nil) }
                listeners.value = []
                continuation.resume(returning: true)
            }
        }
    }

    private static func onLoop<T>(_ loop: any EventLoop, _ make: @escaping @Sendable () -> T) -> NIOLoopBound<T> {
        let future = loop.submit { NIOLoopBound(make(), eventLoop: loop) }
        guard let value = try? future.wait() else { preconditionFailure("the event loop has been shut down") }
        return value
    }
}
