// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux
internal import Glibc
internal import NIOCore

extension UnixSocket {
    /// Makes a socket that listens at a path, before there is an event loop, or any thread but this one. A socket file that a worker
    /// left behind is replaced; one that is served is not. The caller owns the descriptor, and the path stays when it is closed.
    ///
    /// - Parameter mode: the socket file's permissions.
    ///
    /// `socket`, `bind`, `chmod`, `listen`.
    public static func listen(path: String, mode: UInt32 = 0o660) throws(SocketError) -> CInt {
        try check(path: path)
        if exists(path: path) { try removeStale(path) }
        // SAFETY: the string is lent for the call.
        let result = unsafe clinux_listen(path, mode, FramedSocket.backlog)
        guard result >= 0 else { throw error(-result, path, "bind") }
        return result
    }

    /// A socket file on which nobody answers is what a worker leaves behind that was killed, or could not remove it any more.
    private static func removeStale(_ path: String) throws(SocketError) {
        // SAFETY: the strings are lent for the calls.
        let answer = unsafe clinux_try_to_connect(path)
        // One whose backlog is full is served as well.
        guard answer != 0, answer != -EAGAIN else { throw .inUse(path: path) }
        guard answer == -ECONNREFUSED else { throw error(-answer, path, "connect") }
        let result = unsafe clinux_remove_socket(path)
        guard result == 0 || result == -ENOENT else { throw error(-result, path, "unlink") }
    }

    private static func error(_ code: CInt, _ path: String, _ call: String) -> SocketError {
        SocketError(IOError(errnoCode: code, reason: call), path: path, call: call)
    }
}
