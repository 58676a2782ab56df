// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobTransport
import NIOPosix
import Testing

private let group = MultiThreadedEventLoopGroup.singleton

@Suite(.timeLimit(.minutes(1))) struct StreamRelayTests {
    /// A relay between a pair of sockets, whose other end is the caller's, and a worker's socket, whose other end is too.
    private struct Ends {
        let near: FileHandle
        let worker: FileHandle
        let end: Task<Void, any Error>
    }

    private func start(_ folder: borrowing SocketFolder) throws -> Ends {
        let path = folder.path("s")
        let listener = try #require(Listener(path: path))
        let relay = try StreamRelay(path: path)
        let worker = FileHandle(fileDescriptor: listener.accept(), closeOnDealloc: true)
        let (near, far) = try UnixSocket.connectedPair()
        let end = Task {
            defer { UnixSocket.close(far) }
            // As under ssh, where standard input and output are one socket.
            try await relay.run(input: far, output: far)
        }
        return Ends(near: FileHandle(fileDescriptor: near, closeOnDealloc: true), worker: worker, end: end)
    }

    @Test func `each way's end is passed on at once, and the other way goes on`() async throws {
        let folder = try SocketFolder()
        let ends = try start(folder)
        try ends.near.write(contentsOf: Data("question".utf8))
        shutdown(ends.near.fileDescriptor, CInt(SHUT_WR))
        // The end is seen while the answer is still to come.
        #expect(try await Self.read(ends.worker) == Data("question".utf8))
        try ends.worker.write(contentsOf: Data("answer".utf8))
        try ends.worker.close()
        #expect(try await Self.read(ends.near) == Data("answer".utf8))
        try await ends.end.value
    }

    @Test func `a worker that goes ends it, though nobody has ended the input`() async throws {
        let folder = try SocketFolder()
        let ends = try start(folder)
        try ends.worker.write(contentsOf: Data("last words".utf8))
        try ends.worker.close()
        #expect(try await Self.read(ends.near) == Data("last words".utf8))
        try await ends.end.value
    }

    @Test func `a caller that goes ends it, and the worker sees the end`() async throws {
        let folder = try SocketFolder()
        let ends = try start(folder)
        try ends.near.close()
        #expect(try await Self.read(ends.worker) ?? Data() == Data())
        try ends.worker.close()
        try await ends.end.value
    }

    @Test func `many bytes go both ways at the same time, in order`() async throws {
        let folder = try SocketFolder()
        let ends = try start(folder)
        let bytes = Data((0..<(8 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) })
        async let atWorker = Self.exchange(bytes, on: ends.worker)
        async let atNear = Self.exchange(bytes, on: ends.near)
        #expect(try await atWorker == bytes)
        #expect(try await atNear == bytes)
        try await ends.end.value
    }

    /// Writes and half-closes on one thread while another reads to the end.
    private static func exchange(_ bytes: Data, on handle: FileHandle) async throws -> Data? {
        async let written: Void = onThread {
            try handle.write(contentsOf: bytes)
            shutdown(handle.fileDescriptor, CInt(SHUT_WR))
        }
        let read = try await onThread { try handle.readToEnd() }
        try await written
        return read
    }

    /// All that comes until the end. No thread that others share waits for it: the relay may need that one.
    private static func read(_ handle: FileHandle) async throws -> Data? {
        try await onThread { try handle.readToEnd() }
    }

    private static func onThread<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
        }
    }

    @Test func `without a worker it says why, as every connection does`() throws {
        let folder = try SocketFolder()
        #expect(throws: SocketError.missing(path: folder.path("none"))) { try StreamRelay(path: folder.path("none")) }
        try Data().write(to: URL(fileURLWithPath: folder.path("file")))
        #expect(throws: SocketError.notASocket(path: folder.path("file"))) {
            try StreamRelay(path: folder.path("file"))
        }
        _ = try #require(Listener(path: folder.path("left")))
        #expect(throws: SocketError.refused(path: folder.path("left"))) { try StreamRelay(path: folder.path("left")) }
    }
}

/// A listening socket that goes with its holder, and leaves its file.
private final class Listener {
    private let descriptor: CInt

    init?(path: String) {
        descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard bound == 0, listen(descriptor, 4) == 0 else { return nil }
    }

    deinit { close(descriptor) }

    func accept() -> CInt { Glibc.accept(descriptor, nil, nil) }
}

@Suite(.timeLimit(.minutes(1))) struct ChildProcessTests {
    /// What a program writes to its socket, and its status.
    private func run(_ words: [String], input: String = "") async throws -> (output: String, status: CInt) {
        let (near, far) = try UnixSocket.connectedPair()
        let handle = FileHandle(fileDescriptor: near, closeOnDealloc: true)
        let child = try await ChildProcess.start(words, stream: far, on: group.next())
        try handle.write(contentsOf: Data(input.utf8))
        shutdown(near, CInt(SHUT_WR))
        let output = try handle.readToEnd() ?? Data()
        return (String(decoding: output, as: UTF8.self), await child.ended())
    }

    @Test func `a program gets its words as they are, and the socket as both its streams`() async throws {
        let words = ["sh", "-c", "printf '<%s>' \"$@\"; cat; exit 7", "sh", "a b", "", "$HOME", "-x"]
        let (output, status) = try await run(words, input: "input")
        #expect(output == "<a b><><$HOME><-x>input" && status == 7)
    }

    @Test func `one that is not there is an error, and no child`() async throws {
        let (near, far) = try UnixSocket.connectedPair()
        defer { UnixSocket.close(near) }
        await #expect(throws: ChildProcess.StartError.self) {
            try await ChildProcess.start(["kvmjob-no-such-program"], stream: far, on: group.next())
        }
    }

    @Test func `it can be told to end, and one that has ended as often as you like`() async throws {
        let (near, far) = try UnixSocket.connectedPair()
        defer { UnixSocket.close(near) }
        let child = try await ChildProcess.start(["sleep", "1000"], stream: far, on: group.next())
        child.terminate()
        #expect(await child.ended() == 128 + SIGTERM)
        child.terminate()
        #expect(await child.ended() == 128 + SIGTERM)
    }

    @Test func `signals reach it as they do at a program's start, but Ctrl-C's`() async throws {
        let (output, _) = try await run(["sed", "-n", "s/^Sig\\(Blk\\|Ign\\):\\s*//p", "/proc/self/status"])
        // Bit 1 is SIGINT. Nothing is ignored that this process ignores, such as SIGPIPE, bit 12.
        let masks = output.split(separator: "\n").map { UInt64($0, radix: 16) ?? .max }
        #expect(masks.first == 1 << 1)
        #expect(masks.last.map { $0 & (1 << 12) } == 0)
    }
}

@Suite struct UserAccountTests {
    @Test func `root has a name everywhere, and the name the number 0`() {
        #expect(UserAccount.name(of: 0) == "root")
        #expect(UserAccount.number(of: "root") == 0)
    }

    @Test func `who is not known has none`() {
        #expect(UserAccount.name(of: 3_999_999_999) == nil)
        #expect(UserAccount.number(of: "no such user") == nil)
    }
}
