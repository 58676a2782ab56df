// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobProtocol
internal import JobTransport
internal import NIOCore
internal import NIOPosix
internal import Worker

/// The connections of a load, all to one worker, each on an event loop of its own as far as there are processors.
struct LoadConnections: Sendable {
    /// What the worker offers.
    let terms: WorkerTerms
    private let members: [Member]
    private let group: MultiThreadedEventLoopGroup
    /// The worker, where it lives in this process.
    private let embedded: Worker?

    private struct Member: Sendable {
        let channel: any Channel
        let handler: NIOLoopBound<LoadHandler>
        /// What carries the connection to another machine.
        let shell: SecureShell?

        func ready() async throws -> WorkerTerms {
            let handler = handler
            let wait = { try await handler.eventLoop.flatSubmit { handler.value.ready.futureResult }.get() }
            guard let shell else { return try await wait() }
            return try await shell.connecting(wait)
        }
    }

    /// Connects.
    ///
    /// - Throws: ``CommandFailure``.
    static func open(_ count: Int, to choice: WorkerChoice, _ order: LoadOrder) async throws -> LoadConnections {
        try await WorkerConnection.telling {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: min(count, System.coreCount))
            let embedded: Worker? = choice == .embedded ? try await WorkerConnection.startWorker() : nil
            var members: [Member] = []
            do {
                var terms: WorkerTerms?
                for _ in 0..<count {
                    let member = try await connect(choice, embedded, order, on: group.next())
                    members.append(member)
                    terms = try await member.ready()
                }
                guard let terms else { throw CommandFailure.broken("a load needs a connection") }
                return LoadConnections(terms: terms, members: members, group: group, embedded: embedded)
            } catch {
                await close(members, group, embedded)
                throw error
            }
        }
    }

    private static func connect(
        _ choice: WorkerChoice, _ embedded: Worker?, _ order: LoadOrder, on loop: any EventLoop
    ) async throws -> Member {
        let handler = try await loop.submit {
            NIOLoopBound(LoadHandler(order, patience: choice.patience, eventLoop: loop), eventLoop: loop)
        }.get()
        let initializer: FramedSocket.Initializer = { channel, _ in
            try channel.pipeline.syncOperations.addHandler(handler.value)
        }
        do {
            let (channel, shell) = try await open(choice, embedded, on: loop, initializer)
            return Member(channel: channel, handler: handler, shell: shell)
        } catch {
            loop.execute { handler.value.ready.fail(error) }
            throw error
        }
    }

    private static func open(
        _ choice: WorkerChoice, _ embedded: Worker?, on loop: any EventLoop,
        _ initializer: @escaping FramedSocket.Initializer
    ) async throws -> (any Channel, SecureShell?) {
        let limit = FrameHeader.smallestFrameLimit
        let (descriptor, shell): (CInt, SecureShell?)
        switch choice {
        case .socket(let path):
            return (
                try await FramedSocket.connect(path: path, frameLimit: limit, on: loop, initializer: initializer), nil
            )
        case .remote(let host): (shell, descriptor) = try await SecureShell.start(to: host)
        case .embedded:
            let (near, far) = try UnixSocket.connectedPair()
            Task { try await embedded?.serve(descriptor: far) }
            (descriptor, shell) = (near, nil)
        }
        let channel = try await FramedSocket.adopt(
            descriptor: descriptor, as: .client, frameLimit: limit, on: loop, initializer: initializer)
        return (channel, shell)
    }

    /// Does this much on all connections together. If the task is cancelled, nothing more is submitted, and what is done by
    /// then is returned.
    ///
    /// - Throws: ``CommandFailure`` when the worker refuses a job or a connection ends.
    func run(_ amount: LoadAmount) async throws -> LoadTally {
        try await withTaskCancellationHandler {
            try await withThrowingTaskGroup(of: LoadTally.self) { group in
                for (member, share) in zip(members, shares(of: amount)) {
                    group.addTask {
                        try await member.channel.eventLoop.flatSubmit { member.handler.value.run(share) }.get()
                    }
                }
                return try await group.reduce(into: LoadTally()) { $0.add($1) }
            }
        } onCancel: {
            for member in members { member.channel.eventLoop.execute { member.handler.value.stop() } }
        }
    }

    private func shares(of amount: LoadAmount) -> [LoadAmount] {
        guard case .jobs = amount else { return members.map { _ in amount } }
        return amount.parts(members.count)
    }

    /// Jobs that have ended on all connections since they were made.
    func finished() async throws -> Int {
        var sum = 0
        for member in members {
            sum += try await member.channel.eventLoop.submit { member.handler.value.finished }.get()
        }
        return sum
    }

    /// Ends the connections, and the worker where it lives in this process.
    func close() async { await Self.close(members, group, embedded) }

    private static func close(_ members: [Member], _ group: MultiThreadedEventLoopGroup, _ embedded: Worker?) async {
        for member in members {
            let failure = CommandFailure.broken("the load is over")
            member.channel.eventLoop.execute { member.handler.value.close(failure) }
            // A channel's close future does not fail.
            try? await member.channel.closeFuture.get()
            await member.shell?.end()
        }
        await embedded?.drain(grace: .zero)
        try? await group.shutdownGracefully()
    }
}

extension WorkerChoice {
    /// How long it may take until the worker says HELLO.
    fileprivate var patience: Duration {
        if case .remote = self { SecureShell.patience } else { ClientSession.handshakeTimeout }
    }
}
