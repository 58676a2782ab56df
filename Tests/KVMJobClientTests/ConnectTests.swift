// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import JobProtocol
import JobTransport
import KVMJobClient
import NIOCore
import NIOPosix
import Testing

@Suite(.timeLimit(.minutes(1))) struct ConnectTests {
    /// The error of a connection to a peer that says these bytes, and then closes unless it is to stay.
    private func error(saying bytes: [UInt8], closing: Bool, patience: Duration = .seconds(5)) async throws
        -> JobClientError?
    {
        let (ours, theirs) = try UnixSocket.connectedPair()
        let peer = try await FramedSocket.adopt(
            descriptor: ours, frameLimit: 65_536, on: MultiThreadedEventLoopGroup.singleton
        ) { _, _ in }
        if !bytes.isEmpty { try await peer.writeAndFlush(ByteBuffer(bytes: bytes)) }
        if closing { try await peer.close() }
        do {
            try await JobClient.connect(descriptor: theirs, handshakeTimeout: patience).shutdown()
            return nil
        } catch let error as JobClientError {
            if !closing { try await peer.closeFuture.get() }
            return error
        }
    }

    @Test func `terms are there when the connection is`() async throws {
        let (client, _) = try await ScriptedWorker.connect { _, _ in [] }
        #expect(client.terms.software == "scripted" && client.terms.slots == 1 && client.terms.jobLimit == 64)
        await client.shutdown()
    }

    @Test func `a path without a socket and one without a worker are told apart`() async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID().uuidString.prefix(8))").path
        var error = await #expect(throws: JobClientError.self) { try await JobClient.connect(path: path) }
        #expect(error?.code == .noSocket)
        #expect(error?.message.contains(path) == true)
        let listener = try await FramedSocket.listen(
            path: path, frameLimit: 4096, on: MultiThreadedEventLoopGroup.singleton
        ) { _, _ in }
        // A listener that is gone without unlinking: what a killed worker leaves.
        try FileManager.default.moveItem(atPath: path, toPath: path + "-kept")
        try await listener.close()
        error = await #expect(throws: JobClientError.self) { try await JobClient.connect(path: path + "-kept") }
        #expect(error?.code == .connectionRefused)
        try FileManager.default.removeItem(atPath: path + "-kept")
    }

    @Test func `a client works over a path`() async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID().uuidString.prefix(8))").path
        let listener = try await FramedSocket.listen(
            path: path, frameLimit: 4096, on: MultiThreadedEventLoopGroup.singleton
        ) { channel, _ in
            var session = ServerSession(terms: .scripted)
            for case .send(let bytes) in session.open() {
                channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
            }
        }
        let client = try await JobClient.connect(path: path)
        #expect(client.terms.software == "scripted")
        await client.shutdown()
        try await listener.close()
        try? FileManager.default.removeItem(atPath: path)
    }

    @Test func `a worker that stays silent is given up`() async throws {
        let error = try await error(saying: [], closing: false, patience: .milliseconds(30))
        #expect(error?.code == .silentWorker)
    }

    @Test func `a worker that closes at once is a lost connection`() async throws {
        #expect(try await error(saying: [], closing: true)?.code == .connectionLost)
    }

    @Test func `another version is named`() async throws {
        var hello = Hello(frameLimit: 4096, window: 0)
        hello.major = 2
        let error = try await error(saying: Message.hello(hello).encode(), closing: false)
        #expect(error?.code == .versionUnsupported)
    }

    @Test func `a full worker says so`() async throws {
        let error = try await error(saying: ServerSession.tooManyConnections(limit: 8), closing: false)
        #expect(error?.code == .tooManyConnections)
        #expect(error?.isRetryable == true)
    }

    @Test(arguments: ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n"])
    func `something that is no worker is a protocol violation`(greeting: String) async throws {
        #expect(try await error(saying: Array(greeting.utf8), closing: false)?.code == .protocolViolation)
    }

    @Test func `a first frame above 4096 bytes is too long before HELLO`() async throws {
        let bytes = [UInt8](repeating: 0, count: 4097)
        let frame = Frame(type: 0x80, job: 0, payload: bytes).encode()
        #expect(try await error(saying: frame, closing: false)?.code == .protocolViolation)
    }

    @Test func `a connection that is being made can be cancelled`() async throws {
        let (ours, theirs) = try UnixSocket.connectedPair()
        let connecting = Task { try await JobClient.connect(descriptor: theirs) }
        connecting.cancel()
        await #expect(throws: CancellationError.self) { try await connecting.value }
        UnixSocket.close(ours)
    }
}
