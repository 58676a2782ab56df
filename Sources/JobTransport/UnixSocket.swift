// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux

/// What can go wrong with a Unix socket before the first byte.
public enum SocketError: Error, Sendable, Hashable, CustomStringConvertible {
    /// There is nothing at the path.
    case missing(path: String)
    /// A socket cannot be made here: its folder is missing.
    case folderMissing(path: String)
    /// There is a socket, and nobody listens on it.
    case refused(path: String)
    /// More connections wait there already than the worker has got round to.
    case busy(path: String)
    /// This user may not use it.
    case notPermitted(path: String)
    /// Somebody serves this path already.
    case inUse(path: String)
    /// There is something else than a socket at the path.
    case notASocket(path: String)
    /// The path is longer than a socket address holds.
    case pathTooLong(path: String, limit: Int)
    /// A call failed for another reason.
    case failed(call: String, path: String, errno: CInt)

    /// What is wrong and what to do about it.
    public var description: String {
        switch self {
        case .missing(let path): "there is no socket at \(path): start kvmjobd.socket, or kvmjobd --socket \(path)"
        case .folderMissing(let path): "there is no folder for the socket \(path): make it first"
        case .refused(let path): "nobody listens on \(path): start kvmjobd or its socket unit"
        case .busy(let path): "too many connections wait at \(path) already: try again in a moment"
        case .notPermitted(let path):
            "no permission to use \(path): join the group that owns it (sudo usermod -aG kvmjob $USER, then log in again)"
        case .inUse(let path): "\(path) is served already: stop the other worker or choose another path"
        case .notASocket(let path): "\(path) is not a socket; it is left alone"
        case .pathTooLong(let path, let limit): "the path \(path) is too long: a socket's has at most \(limit) bytes"
        case .failed(let call, let path, let errno): "\(call) \(path) failed with errno \(errno)"
        }
    }
}

/// Whole-process settings and small questions about socket files.
public enum UnixSocket {
    /// The most bytes of a path: `sockaddr_un.sun_path` without its closing zero.
    public static let maximumPathBytes = 107

    /// Two connected stream sockets, for a worker in the caller's own process. The caller owns both.
    ///
    /// `socketpair`.
    public static func connectedPair() throws(SocketError) -> (CInt, CInt) {
        let pair = clinux_make_socket_pair()
        guard pair.error == 0 else { throw .failed(call: "socketpair", path: "", errno: -pair.error) }
        return (pair.first, pair.second)
    }

    /// Whether there is anything at this path, a socket or not. A path that may not be looked at counts as there.
    public static func exists(path: String) -> Bool {
        // SAFETY: the string is lent for the call.
        unsafe clinux_exists(path) != 0
    }

    /// Whether what is at this path is known to be no socket. The kernel says "refused" of both.
    static func isOther(path: String) -> Bool {
        // SAFETY: the string is lent for the call.
        unsafe clinux_is_socket(path) == 0
    }

    /// Raises the soft limit of open descriptors to the hard one. Returns the limit, or nil if it could not be raised.
    @discardableResult
    public static func raiseDescriptorLimit() -> Int? {
        let limit = clinux_raise_descriptor_limit()
        return limit < 0 ? nil : Int(limit)
    }

    /// Makes a write to a closed socket an error instead of the end of the process. Call once, at the start.
    public static func ignoreBrokenPipes() { clinux_ignore_sigpipe() }

    /// Closes a descriptor that no channel has taken over.
    public static func close(_ descriptor: CInt) { clinux_close(descriptor) }

    static func check(path: String) throws(SocketError) {
        guard path.utf8.count <= maximumPathBytes else { throw .pathTooLong(path: path, limit: maximumPathBytes) }
    }
}
