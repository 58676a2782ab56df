// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
public import JobProtocol
internal import JobTransport
public import NIOCore
public import NIOPosix

/// A connection to a kvmjob worker.
///
/// ```swift
/// let client = try await JobClient.connect(path: "/run/kvmjob/kvmjobd.sock")
/// let job = try await client.submit(JobSpec(mode: .real16), image: [0xB0, 0x21, 0xE6, 0xE9, 0xF4])
/// for try await chunk in job.output { print(chunk.bytes) }
/// print(try await job.result().outcome)
/// ```
///
/// Any number of tasks may use one client at the same time. The connection is closed by ``shutdown()``, or when neither the client
/// nor any of its jobs is held any more; the worker cancels the jobs of a connection that ends.
public final class JobClient: Sendable {
    /// The most output of one job in bytes that waits to be read: 256 KiB.
    public static let defaultOutputWindow: UInt32 = ClientSession.defaultOutputWindow

    /// What the worker offers: its limits, slots and modes.
    public let terms: WorkerTerms
    let channel: any Channel
    let handler: NIOLoopBound<ClientHandler>
    let outputWindow: UInt32

    private init(
        terms: WorkerTerms, channel: any Channel, handler: NIOLoopBound<ClientHandler>, outputWindow: UInt32
    ) {
        (self.terms, self.channel, self.handler, self.outputWindow) = (terms, channel, handler, outputWindow)
    }

    deinit { channel.close(promise: nil) }

    /// Connects to the worker that listens on this Unix socket.
    ///
    /// - Parameters:
    ///   - handshakeTimeout: how long the worker may take to say HELLO; a socket-activated one is started meanwhile.
    ///   - outputWindow: the most output of one job that waits to be read, 1 to 2^31-1 bytes.
    ///   - software: this program's name and version, for the worker's log.
    ///   - group: the event loops that serve the socket; the process's own by default.
    /// - Throws: ``JobClientError``, or `CancellationError` when the task was cancelled.
    public static func connect(
        path: String, handshakeTimeout: Duration = ClientSession.handshakeTimeout,
        outputWindow: UInt32 = JobClient.defaultOutputWindow, software: String = "KVMJobClient",
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) async throws -> JobClient {
        try await connect(handshakeTimeout, outputWindow, software, group) { loop, initializer in
            do {
                return try await FramedSocket.connect(
                    path: path, frameLimit: FrameHeader.smallestFrameLimit, on: loop, initializer: initializer)
            } catch let error as SocketError {
                throw JobClientError(error)
            }
        }
    }

    /// Talks to a worker over a stream socket that is connected already, such as one of a pair. Takes the descriptor over.
    ///
    /// - Throws: ``JobClientError``, or `CancellationError` when the task was cancelled.
    public static func connect(
        descriptor: CInt, handshakeTimeout: Duration = ClientSession.handshakeTimeout,
        outputWindow: UInt32 = JobClient.defaultOutputWindow, software: String = "KVMJobClient",
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) async throws -> JobClient {
        try await connect(handshakeTimeout, outputWindow, software, group) { loop, initializer in
            try await FramedSocket.adopt(
                descriptor: descriptor, as: .client, frameLimit: FrameHeader.smallestFrameLimit, on: loop,
                initializer: initializer)
        }
    }

    private static func connect(
        _ patience: Duration, _ outputWindow: UInt32, _ software: String, _ group: any EventLoopGroup,
        open: (any EventLoop, @escaping FramedSocket.Initializer) async throws -> any Channel
    ) async throws -> JobClient {
        precondition((1...Hello.largestWindow).contains(outputWindow), "an output window is 1 to 2^31-1 bytes")
        UnixSocket.ignoreBrokenPipes()
        let loop = group.next()
        let handler = try await loop.submit {
            NIOLoopBound(
                ClientHandler(software: software, outputWindow: outputWindow, eventLoop: loop), eventLoop: loop)
        }.get()
        let channel: any Channel
        do {
            channel = try await open(loop) { channel, _ in
                try channel.pipeline.syncOperations.addHandler(handler.value)
            }
        } catch {
            loop.execute { handler.value.ready.fail(error) }
            throw error
        }
        let ready = try await loop.submit {
            handler.value.awaitHello(patience)
            return handler.value.ready.futureResult
        }.get()
        do {
            let terms = try await withTaskCancellationHandler {
                try await ready.get()
            } onCancel: {
                channel.close(promise: nil)
            }
            return JobClient(terms: terms, channel: channel, handler: handler, outputWindow: outputWindow)
        } catch {
            channel.close(promise: nil)
            throw Task.isCancelled ? CancellationError() : error
        }
    }

    /// Submits a job and returns when the worker has accepted it.
    ///
    /// While as many jobs of this connection are in flight as the worker allows, the job waits here. `spec.hasInput` says whether
    /// ``RunningJob/send(_:)`` will be used.
    ///
    /// - Throws: ``JobClientError``: with ``JobClientError/Code-swift.struct/refused`` when the worker will not run the job.
    ///   `CancellationError` when the task was cancelled before the worker had accepted it; the job does not run then.
    public func submit(_ spec: JobSpec, image: [UInt8]) async throws -> RunningJob {
        try await submit(spec, image: Image(submitting: image))
    }

    /// The same for an image whose digest was computed before: a caller who submits it again and again makes it once, by
    /// `Image(submitting:)`. An image without a digest is sent each time.
    ///
    /// - Throws: as ``submit(_:image:)-(_,[UInt8])``; also refused if the digest is not that of the bytes and the worker has to
    ///   ask for them.
    public func submit(_ spec: JobSpec, image: Image) async throws -> RunningJob {
        try await submit(spec, .image(image), firstInput: [], inputEnds: false)
    }

    /// Submits a job with input, and returns when the worker has accepted it.
    ///
    /// As much of the input as the worker's window holds, 64 KiB as a rule, is there before the guest runs its first instruction:
    /// what the guest finds does not depend on timing. The rest is sent as the guest reads. So that the input is there first, the
    /// image is sent behind it each time, whatever the worker has of earlier jobs.
    ///
    /// - Parameter moreInput: whether more will come by ``RunningJob/send(_:)`` and ``RunningJob/finishInput()``.
    /// - Throws: as ``submit(_:image:)-(_,[UInt8])``.
    public func submit(
        _ spec: JobSpec, image: [UInt8], input: [UInt8], moreInput: Bool = false
    ) async throws -> RunningJob {
        var spec = spec
        spec.hasInput = true
        return try await submit(spec, .image(Image(image)), firstInput: input, inputEnds: !moreInput)
    }

    /// Submits a Linux program, and returns when the worker has accepted it.
    ///
    /// The spec has the mode `linux` and a program; which layers that has, the files say. Layers that the worker has of earlier jobs of
    /// this user are not sent again. What the program writes to its standard error comes on
    /// ``JobModel/OutputChannel/standardError``. `spec.hasInput` says whether ``RunningJob/send(_:)`` will be used for its standard input;
    /// the program may run before the first of it is there.
    ///
    /// - Parameter files: archives (tar), the lowest first; make each once, by `Image(bytes).hashed` or `Image(submitting:)`, if it is
    ///   submitted again and again.
    /// - Throws: as ``submit(_:image:)-(_,[UInt8])``.
    public func submit(_ spec: JobSpec, files: [Image]) async throws -> RunningJob {
        try await submit(spec, .program(files.map(\.hashed)), firstInput: [], inputEnds: false)
    }

    /// Submits a Linux program with the beginning of its standard input, as ``submit(_:image:input:moreInput:)`` does an image. The
    /// input is there before the program only where some layer has to be sent behind it.
    public func submit(
        _ spec: JobSpec, files: [Image], input: [UInt8], moreInput: Bool = false
    ) async throws -> RunningJob {
        var spec = spec
        spec.hasInput = true
        return try await submit(spec, .program(files.map(\.hashed)), firstInput: input, inputEnds: !moreInput)
    }

    /// Submits a job that starts where a snapshot was taken, in a copy of its own, and returns when the worker has accepted it.
    ///
    /// The name is that of the ``JobModel/Outcome/snapshotTaken(_:)`` with which a job of the same user on the same worker ended. The
    /// snapshot decides mode, memory and all else about the start; what the spec says of them must be left at its defaults.
    ///
    /// - Throws: as ``submit(_:image:)``; refused as `snapshot-unknown`, the snapshot has to be taken again.
    public func submit(_ spec: JobSpec, from snapshot: ContentDigest) async throws -> RunningJob {
        try await submit(spec, .snapshot(snapshot), firstInput: [], inputEnds: false)
    }

    /// Submits a job from a snapshot with input, as ``submit(_:image:input:moreInput:)`` does. A guest may run before its input is there,
    /// since there is no image for it to go ahead of; one of a deterministic snapshot waits for all of it.
    public func submit(
        _ spec: JobSpec, from snapshot: ContentDigest, input: [UInt8], moreInput: Bool = false
    ) async throws -> RunningJob {
        var spec = spec
        spec.hasInput = true
        return try await submit(spec, .snapshot(snapshot), firstInput: input, inputEnds: !moreInput)
    }

    private func submit(
        _ spec: JobSpec, _ source: JobSource, firstInput: [UInt8], inputEnds: Bool
    ) async throws -> RunningJob {
        precondition(spec.detachment == nil, "a detached job is handed over by detach, and attached to by attach")
        let handle = JobHandle(spec, window: outputWindow, handler: handler, eventLoop: channel.eventLoop)
        // Before the handler is there, so that a cancellation comes behind the submission.
        handle.submit(source, firstInput: firstInput, inputEnds: inputEnds)
        return try await withTaskCancellationHandler {
            let acceptance = try await handle.acceptance.futureResult.get()
            return RunningJob(handle, acceptance, client: self)
        } onCancel: {
            handle.cancel()
        }
    }

    /// Waits until the connection is closed, by the worker or by ``shutdown()``.
    ///
    /// - Throws: `CancellationError` when the task was cancelled; the connection stays open.
    public func closed() async throws {
        let promise = channel.eventLoop.makePromise(of: Void.self)
        channel.closeFuture.cascade(to: promise)
        try await withTaskCancellationHandler {
            try await promise.futureResult.get()
        } onCancel: {
            promise.fail(CancellationError())
        }
    }

    /// Closes the connection and returns when it is closed. Jobs that are not finished fail here with
    /// ``JobClientError/Code-swift.struct/shutDown``; the worker cancels them.
    public func shutdown() async {
        let handler = handler
        channel.eventLoop.execute {
            handler.value.close(JobClientError(.shutDown, "the client was shut down before the job ended"))
        }
        // A channel's close future does not fail.
        try? await channel.closeFuture.get()
    }
}
