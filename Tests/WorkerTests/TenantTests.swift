// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import JobTransport
import KVMJobClient
import Logging
import NIOCore
import NIOPosix
import Testing
import VMRuntime

@testable import Worker

/// A worker's inside, whose clients are whoever the test says.
final class Masquerade: Sendable {
    private let loop: any EventLoop
    private let dispatcher: NIOLoopBound<Dispatcher>

    init(
        slots: Int = 1, limits: WorkerLimits = WorkerLimits(), operators: Set<UInt32> = [], keeper: JobKeeper? = nil
    ) async throws {
        let (loop, backend) = (MultiThreadedEventLoopGroup.singleton.next(), try Backend())
        let log = WorkerLog(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, jobs: .none)
        dispatcher = try await loop.submit {
            var configuration = WorkerConfiguration(slots: slots, limits: limits)
            (configuration.operators, configuration.keeper) = (operators, keeper)
            return NIOLoopBound(
                Dispatcher(configuration: configuration, backend: backend, eventLoop: loop, log: log), eventLoop: loop)
        }.get()
        self.loop = loop
    }

    func connect(as user: UInt32?) async throws -> CountingClient {
        try await CountingClient(descriptor: try await descriptor(of: user))
    }

    func client(of user: UInt32?) async throws -> JobClient {
        try await .connect(descriptor: try await descriptor(of: user))
    }

    private func descriptor(of user: UInt32?) async throws -> CInt {
        let (near, far) = try UnixSocket.connectedPair()
        let dispatcher = dispatcher
        let limit = WorkerTerms.defaultFrameLimit
        _ = try await FramedSocket.adopt(descriptor: far, frameLimit: limit, on: loop) { channel, _ in
            let peer = Peer(process: nil, user: user)
            if let limit = dispatcher.value.refusal(of: peer) {
                return dispatcher.value.turnAway(channel, peer: peer, for: limit)
            }
            try channel.pipeline.syncOperations.addHandler(ConnectionHandler(dispatcher: dispatcher.value, peer: peer))
        }
        return near
    }

    /// What the worker answers to this user.
    func answer(_ query: Query, to user: UInt32?) async throws -> Answer {
        try await onDispatcher { dispatcher, tell in
            dispatcher.answer(query, for: Peer(process: nil, user: user), tell: tell)
        }
    }

    func stop(_ request: StopRequest, by user: UInt32?) async throws -> StopAnswer {
        try await onDispatcher { dispatcher, tell in
            dispatcher.stop(request, for: Peer(process: nil, user: user), tell: tell)
        }
    }

    private func onDispatcher<Value: Sendable>(
        _ ask: @escaping @Sendable (Dispatcher, @escaping (Value) -> Void) -> Void
    ) async throws -> Value {
        let (dispatcher, promise) = (dispatcher, loop.makePromise(of: Value.self))
        loop.execute { ask(dispatcher.value) { promise.succeed($0) } }
        return try await promise.futureResult.get()
    }

    /// Drains it, and returns when that is over.
    func drain(grace: TimeAmount = .seconds(10)) async throws {
        let (dispatcher, done) = (dispatcher, loop.makePromise(of: Void.self))
        loop.execute {
            dispatcher.value.drain(done, .drain)
            dispatcher.value.endDrain(after: grace, farewell: .milliseconds(1))
        }
        try await done.futureResult.get()
    }

    func letDrain(_ handler: @escaping @Sendable () -> Void) async throws {
        let dispatcher = dispatcher
        try await loop.submit { dispatcher.value.drainHandler = handler }.get()
    }
}

@Suite("Users, and those who look alike", .enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(1)))
struct TenantTests {
    /// Nobody whom the kernel names, and anybody who has no number in this user namespace.
    private static let indistinct: [UInt32?] = [nil, 65_534]

    /// out 0xf5, al; mov ax, '4'; out 0xe9, al; hlt
    private let image = Image([0xE6, 0xF5, 0xB8, 0x34, 0x00, 0xE6, 0xE9, 0xF4])

    private func takeSnapshot(_ client: CountingClient) async throws -> Outcome? {
        var spec = JobSpec()
        spec.snapshot = .ready
        return try await client.run(image, spec).outcome
    }

    @Test func `users find what they have brought, and not what others have`() async throws {
        let worker = try await Masquerade()
        for user in [1000, 1001] as [UInt32] {
            let client = try await worker.connect(as: user)
            for _ in 0..<2 { #expect(try await client.run(printing("a")) == .printed("a")) }
            #expect(client.wanted == 1)
        }
        let outcome = try await takeSnapshot(try await worker.connect(as: 1000))
        guard case .snapshotTaken(let name)? = outcome else { throw Unexpected(outcome: outcome) }
        #expect(try await worker.connect(as: 1000).run(.snapshot(name)) == .printed("4"))
        #expect(try await worker.connect(as: 1001).run(.snapshot(name)) == .refused(.snapshotUnknown))
    }

    @Test(arguments: indistinct) func `of users who look alike nothing is kept`(user: UInt32?) async throws {
        let worker = try await Masquerade()
        let client = try await worker.connect(as: user)
        for _ in 0..<2 { #expect(try await client.run(printing("a")) == .printed("a")) }
        #expect(client.wanted == 2)
        var spec = JobSpec()
        spec.snapshot = .ready
        #expect(try await client.run(image, spec) == .refused(.invalidField))
    }

    private struct Unexpected: Error { let outcome: Outcome? }
}
