// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CSystemd
internal import Glibc

/// The sockets that the service manager opened before it started this process, by their `FileDescriptorName=`.
///
/// Owns them: a socket that nobody took is closed with this value.
public struct ActivatedSockets: ~Copyable {
    /// What systemd names the descriptor of a service that it starts once per connection (`Accept=yes`).
    public static let connectionName = "connection"

    private var passed: [(name: String, descriptor: CInt)]

    /// Takes what the service manager passed, which may be nothing, and removes `LISTEN_FDS` and its relatives from
    /// the environment. Call it once, before there are other threads. `sd_listen_fds_with_names`
    public static func adopt() throws(SystemCallError) -> ActivatedSockets {
        // SAFETY: libsystemd sets the pointer to a list of as many strings as the result says, both allocated by it
        // and owned by the caller; each name is copied, then freed, then the list.
        var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
        let count = try unsafe SystemCallError.check(sd_listen_fds_with_names(1, &names), "sd_listen_fds_with_names")
        defer { unsafe free(names) }
        var passed: [(name: String, descriptor: CInt)] = []
        for index in 0..<Int(count) {
            guard let name = unsafe names?[index] else { continue }
            defer { unsafe free(name) }
            unsafe passed.append((String(cString: name), SD_LISTEN_FDS_START + CInt(index)))
        }
        return ActivatedSockets(passed)
    }

    /// Takes ownership of open descriptors under their names.
    init(_ passed: [(name: String, descriptor: CInt)]) { self.passed = passed }

    deinit {
        for socket in passed { _ = close(socket.descriptor) }
    }

    /// The names of the sockets that are still here.
    public var names: [String] { passed.map(\.name) }

    /// Hands out the one socket of this name, or nil if there is none. Throws if there are several, or if it is not a
    /// stream socket of the Unix family that listens or is connected; it then stays here.
    public mutating func take(named name: String) throws(SocketActivationError) -> ActivatedSocket? {
        let matches = passed.indices.filter { passed[$0].name == name }
        guard let index = matches.first else { return nil }
        guard matches.count == 1 else { throw .ambiguous(name: name, count: matches.count) }
        guard let role = SocketRole(of: passed[index].descriptor) else { throw .notUnixStream(name: name) }
        return ActivatedSocket(role: role, descriptor: passed.remove(at: index).descriptor)
    }
}

/// What an activated socket is good for.
public enum SocketRole: Sendable, Hashable {
    /// It waits for connections (`Accept=no`, the default).
    case listening
    /// It is one client's connection (`Accept=yes`).
    case connected

    /// The role of an open descriptor, or nil if it is not a Unix stream socket in one of the two.
    init?(of descriptor: CInt) {
        let listens = sd_is_socket_unix(descriptor, CInt(SOCK_STREAM.rawValue), 1, nil, 0)
        if listens > 0 {
            self = .listening
            return
        }
        guard listens == 0, Self.hasUnixPeer(descriptor) else { return nil }
        self = .connected
    }

    private static func hasUnixPeer(_ descriptor: CInt) -> Bool {
        guard sd_is_socket_unix(descriptor, CInt(SOCK_STREAM.rawValue), 0, nil, 0) > 0 else { return false }
        var address = sockaddr()
        var length = socklen_t(MemoryLayout<sockaddr>.size)
        // SAFETY: the kernel writes at most `length` bytes, the size of `address`; the address itself is not used.
        return unsafe getpeername(descriptor, &address, &length) == 0
    }
}

/// One socket from the service manager. Closes it unless it was released.
public struct ActivatedSocket: ~Copyable {
    /// Whether it listens or is connected.
    public let role: SocketRole
    private let descriptor: CInt

    init(role: SocketRole, descriptor: CInt) {
        self.role = role
        self.descriptor = descriptor
    }

    deinit { _ = close(descriptor) }

    /// Hands the descriptor to the caller, who closes it from here on.
    public consuming func release() -> CInt {
        let descriptor = descriptor
        discard self
        return descriptor
    }
}

/// Why a socket from the service manager cannot be used.
public enum SocketActivationError: Error, Hashable, CustomStringConvertible {
    /// Several sockets have this name, where one is wanted.
    case ambiguous(name: String, count: Int)
    /// It is not a Unix stream socket, or it neither listens nor is connected.
    case notUnixStream(name: String)

    /// What is wrong and what would be right, with the unit setting to look at.
    public var description: String {
        switch self {
        case .ambiguous(let name, let count):
            "\(count) sockets are named \"\(name)\", one is wanted: give each ListenStream= a socket unit of its own"
        case .notUnixStream(let name):
            "socket \"\(name)\" is no listening or connected Unix stream socket: ListenStream= takes an absolute path"
        }
    }
}
