// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import FrameStreams
import JobProtocol
import JobTransport
import NIOCore
import NIOPosix
import Testing

/// A folder of its own for a test's sockets, short enough for a socket's path.
struct SocketFolder: ~Copyable {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func path(_ name: String) -> String { url.appending(path: name).path }
}

private let group = MultiThreadedEventLoopGroup.singleton

@Suite(.timeLimit(.minutes(1))) struct FramedSocketTests {
    private func listen(
        _ path: String, initializer: @escaping FramedSocket.Initializer = { _, _ in }
    ) async throws -> any Channel {
        try await FramedSocket.listen(path: path, frameLimit: 65_536, on: group, initializer: initializer)
    }

    private func connect(
        _ path: String, initializer: @escaping FramedSocket.Initializer = { _, _ in }
    ) async throws -> any Channel {
        try await FramedSocket.connect(path: path, frameLimit: 65_536, on: group, initializer: initializer)
    }

    private func error(_ body: () async throws -> any Channel) async -> SocketError? {
        do {
            try await body().close()
            return nil
        } catch {
            return error as? SocketError
        }
    }

    @Test func `frames go both ways and the worker's side knows who connected`() async throws {
        let folder = try SocketFolder()
        let path = folder.path("s")
        let (server, client) = (FrameCollector(), FrameCollector())
        let (peers, found) = AsyncStream<PeerCredentials?>.makeStream()
        let ping = Message.ping([0, 1, 2, 3, 4, 5, 6, 7])
        let listener = try await listen(path) { channel, credentials in
            found.yield(credentials)
            try channel.pipeline.syncOperations.addHandler(server)
            channel.writeAndFlush(ByteBuffer(bytes: ping.encode()), promise: nil)
        }
        let channel = try await connect(path) { channel, _ in try channel.pipeline.syncOperations.addHandler(client) }
        try await channel.writeAndFlush(ByteBuffer(bytes: Message.cancel(job: 9).encode()))
        #expect(await client.frames.first { _ in true } == ping.frame)
        #expect(await server.frames.first { _ in true } == Message.cancel(job: 9).frame)
        let peer = try #require(await peers.first { _ in true } ?? nil)
        #expect(peer.user == getuid() && peer.group == getgid() && peer.process == getpid())
        try await channel.close()
        try await listener.close()
    }

    @Test func `only owner and group may use the socket file`() async throws {
        let folder = try SocketFolder()
        let listener = try await listen(folder.path("s"))
        let attributes = try FileManager.default.attributesOfItem(atPath: folder.path("s"))
        #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o660)
        try await listener.close()
    }

    @Test func `a socket file that nobody serves is replaced, one that is served is not`() async throws {
        let folder = try SocketFolder()
        let path = folder.path("s")
        let dead = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(dead, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0)
        UnixSocket.close(dead)
        #expect(await error { try await connect(path) } == .refused(path: path))
        let first = try await listen(path)
        #expect(await error { try await listen(path) } == .inUse(path: path))
        try await connect(path).close()
        try await first.close()
    }

    @Test func `a file that is no socket is left alone`() async throws {
        let folder = try SocketFolder()
        let path = folder.path("precious")
        try Data("text".utf8).write(to: URL(filePath: path))
        #expect(await error { try await listen(path) } == .notASocket(path: path))
        #expect(await error { try await connect(path) } == .notASocket(path: path))
        #expect(try Data(contentsOf: URL(filePath: path)) == Data("text".utf8))
    }

    @Test func `a path is missing or too long`() async throws {
        let folder = try SocketFolder()
        let missing = folder.path("nothing")
        #expect(await error { try await connect(missing) } == .missing(path: missing))
        let long = "/" + String(repeating: "x", count: UnixSocket.maximumPathBytes)
        #expect(
            await error { try await connect(long) } == .pathTooLong(path: long, limit: UnixSocket.maximumPathBytes))
        #expect(await error { try await listen(long) } == .pathTooLong(path: long, limit: 107))
    }

    @Test func `a worker stops reading from a client that does not read, a client reads on`() async throws {
        let (first, second) = try UnixSocket.connectedPair()
        let (workerSees, clientSees) = (FrameCollector(), FrameCollector())
        let worker = try await FramedSocket.adopt(descriptor: first, frameLimit: 65_536, on: group) { channel, _ in
            try channel.pipeline.syncOperations.addHandler(workerSees)
        }
        let client = try await FramedSocket.adopt(
            descriptor: second, as: .client, frameLimit: 65_536, on: group
        ) { channel, _ in try channel.pipeline.syncOperations.addHandler(clientSees) }
        let chunk = StreamChunk(offset: 0, bytes: [UInt8](repeating: 7, count: 65_000))
        let output = ByteBuffer(bytes: Message.output(job: 1, .console, chunk).encode())
        try await client.setOption(.autoRead, value: false).get()
        // As much as the sockets and the watermark cannot hold: both sides write without reading.
        let count = 64
        for _ in 0..<count { worker.write(output, promise: nil) }
        worker.flush()
        let image = ByteBuffer(bytes: Message.image(job: 1, chunk).encode())
        let sent = client.eventLoop.makePromise(of: Void.self)
        for index in 0..<count { client.write(image, promise: index == count - 1 ? sent : nil) }
        client.flush()
        let writable = try await worker.eventLoop.submit { worker.isWritable }.get()
        #expect(!writable, "the worker's channel is full, so that it does not read")
        // The client reads on although its own writes wait: that lets the worker go on, which lets the client's writes go.
        try await client.setOption(.autoRead, value: true).get()
        try await sent.futureResult.get()
        var received = 0
        for await _ in clientSees.frames {
            received += 1
            if received == count { break }
        }
        #expect(received == count)
        received = 0
        for await _ in workerSees.frames {
            received += 1
            if received == count { break }
        }
        #expect(received == count)
        try await client.close()
        try await worker.closeFuture.get()
    }

    @Test func `a write to a client that has left is an error and no signal`() async throws {
        UnixSocket.ignoreBrokenPipes()
        let (first, second) = try UnixSocket.connectedPair()
        let worker = try await FramedSocket.adopt(descriptor: first, frameLimit: 65_536, on: group) { _, _ in }
        UnixSocket.close(second)
        try await worker.closeFuture.get()
        await #expect(throws: (any Error).self) { try await worker.writeAndFlush(ByteBuffer(bytes: [1])) }
    }

    @Test func `a pair knows its own process`() throws {
        let (first, second) = try UnixSocket.connectedPair()
        #expect(PeerCredentials(descriptor: first)?.process == getpid())
        UnixSocket.close(first)
        UnixSocket.close(second)
        #expect(PeerCredentials(descriptor: -1) == nil)
    }

    @Test func `the descriptor limit rises to the hard one`() throws {
        var limit = rlimit()
        let raised = try #require(UnixSocket.raiseDescriptorLimit())
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        #expect(UInt(limit.rlim_cur) == UInt(limit.rlim_max) && Int(limit.rlim_cur) == raised)
    }
}
