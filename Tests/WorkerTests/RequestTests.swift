// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import FrameStreams
import JobModel
import JobProtocol
import JobTransport
import KVMJobClient
import NIOCore
import NIOPosix
import Testing

@testable import Worker

@Suite("What a worker is asked", .enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(1)))
struct RequestTests {
    @Test func `a flood of queries ends its own connection and no other`() async throws {
        let worker = try await TestWorker()
        let other = try await worker.connect()
        let (near, far) = try UnixSocket.connectedPair()
        Task { try await worker.worker.serve(descriptor: far) }
        let answers = FrameCollector()
        let client = try await FramedSocket.adopt(
            descriptor: near, as: .client, frameLimit: 65_536, on: MultiThreadedEventLoopGroup.singleton
        ) { channel, _ in try channel.pipeline.syncOperations.addHandler(answers) }
        var bytes = ByteBuffer(bytes: Message.hello(Hello(frameLimit: 65_536, window: 0)).encode())
        for _ in 0..<5000 { bytes.writeBytes(Message.query(.worker).encode()) }
        client.writeAndFlush(bytes, promise: nil)
        var (told, last): (Int, Message?) = (0, nil)
        for await frame in answers.frames {
            let message = try Message(frame: frame)
            if case .answer(.worker) = message { told += 1 }
            last = message
        }
        guard case .error(job: 0, let report)? = last else {
            Issue.record("the last word was \(String(describing: last))")
            return
        }
        #expect(report.knownCode == .windowExceeded && report.limit == UInt64(ServerSession.requestLimit))
        #expect(told < 5000)
        _ = try await other.workerReport()
        await other.shutdown()
    }

    @Test func `a client by many tasks is answered whatever they ask`() async throws {
        let client = try await TestWorker().connect()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<300 { group.addTask { _ = try await client.workerReport() } }
            try await group.waitForAll()
        }
        #expect(try await !client.workerReport().software.isEmpty)
        #expect(try await client.cancel(jobs: [.max]) == [.unknown])
        await client.shutdown()
    }
}
