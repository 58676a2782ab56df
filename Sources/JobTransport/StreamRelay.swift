// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux
internal import Dispatch

/// A worker's socket continued over two other descriptors, such as this process's standard streams.
public struct StreamRelay: Sendable {
    private let socket: CInt
    private let path: String

    /// Connects to the worker that listens on this Unix socket. Blocks until the kernel has an answer.
    ///
    /// - Throws: ``SocketError``.
    public init(path: String) throws(SocketError) {
        try UnixSocket.check(path: path)
        // SAFETY: the string is lent for the call.
        let result = unsafe clinux_connect(path)
        guard result >= 0 else { throw SocketError(errno: -result, path: path, call: "connect") }
        (socket, self.path) = (result, path)
    }

    /// Whether the worker says something, or ends the connection, within this time. A worker speaks first, and the service manager
    /// takes connections even for one that cannot start. Blocks the thread for so long.
    public func hears(within time: Duration) -> Bool {
        clinux_await_input(socket, CInt(time / .milliseconds(1))) != 0
    }

    /// Copies both ways, at most 64 KiB at a time, and returns when both have ended and the connection is closed. The end of one way
    /// is passed on at once, and the other goes on; when one side has gone altogether, nothing more is waited for from the
    /// other side either.
    ///
    /// - Parameters:
    ///   - input: what the worker is to read.
    ///   - output: takes what the worker says; it is closed, or shut down if it is a socket.
    /// - Throws: ``SocketError``.
    public func run(input: CInt, output: CInt) async throws {
        async let sent = copy(from: input, to: socket, "kvmjob.relay.input")
        async let received = copy(from: socket, to: output, "kvmjob.relay.output")
        let results = await [sent, received]
        clinux_close(socket)
        if let error = results.first(where: { $0 < 0 }) {
            throw SocketError.failed(call: "copying to or from", path: path, errno: -error)
        }
    }

    /// Each way blocks a thread of its own.
    private func copy(from source: CInt, to target: CInt, _ label: String) async -> CInt {
        await withCheckedContinuation { continuation in
            DispatchQueue(label: label).async {
                let result = clinux_copy_stream(source, target)
                clinux_finish_stream(target)
                continuation.resume(returning: result)
            }
        }
    }
}
