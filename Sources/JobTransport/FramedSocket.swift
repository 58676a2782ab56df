// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux
internal import Glibc
public import NIOCore
internal import NIOPosix

/// Opens channels on Unix sockets, each with a ``FrameHandler``.
///
/// A worker's channel has back-pressure: while the client does not read what it was sent, nothing more is read from it. A client's
/// has none, since two ends that both wait for the other to read would wait forever; what comes to a client is bounded by the
/// credit that it gives.
public enum FramedSocket {
    /// Which end of the conversation a channel is.
    public enum Side: Sendable {
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case worker, client
    }

    /// Adds the caller's handlers behind the ``FrameHandler``; called on the channel's event loop. A handler that throws closes the
    /// channel.
    public typealias Initializer = @Sendable (any Channel, PeerCredentials?) throws -> Void

    /// The most connections that wait to be accepted.
    static let backlog: CInt = 1024
    /// Unsent bytes above which a connection is not read from, and below which it is again.
    static let writeWatermarks = ChannelOptions.Types.WriteBufferWaterMark(low: 64 << 10, high: 256 << 10)

    /// Listens at a path. A socket file that a worker left behind is replaced; one that is served is not.
    ///
    /// - Parameter mode: the socket file's permissions.
    /// - Throws: ``SocketError``.
    public static func listen(
        path: String, mode: UInt32 = 0o660, frameLimit: UInt32, on group: any EventLoopGroup,
        initializer: @escaping Initializer
    ) async throws -> any Channel {
        try UnixSocket.check(path: path)
        try await removeStale(path, on: group)
        do {
            let listener = try await bootstrap(frameLimit, group, initializer).bind(unixDomainSocketPath: path).get()
            // SAFETY: the string is lent for the call.
            let result = unsafe clinux_set_mode(path, mode)
            guard result == 0 else { throw SocketError.failed(call: "chmod", path: path, errno: -result) }
            return listener
        } catch let error as IOError {
            throw SocketError(error, path: path, call: "bind")
        }
    }

    /// Serves a listening socket that somebody else made. Takes the descriptor over.
    public static func listen(
        descriptor: CInt, frameLimit: UInt32, on group: any EventLoopGroup, initializer: @escaping Initializer
    ) async throws -> any Channel {
        try await bootstrap(frameLimit, group, initializer).withBoundSocket(descriptor).get()
    }

    /// Connects to a path, as a client.
    ///
    /// - Throws: ``SocketError``.
    public static func connect(
        path: String, frameLimit: UInt32, on group: any EventLoopGroup, initializer: @escaping Initializer
    ) async throws -> any Channel {
        try UnixSocket.check(path: path)
        do {
            return try await client(.client, frameLimit, group, initializer).connect(unixDomainSocketPath: path).get()
        } catch let error as IOError {
            throw SocketError(error, path: path, call: "connect")
        } catch let error as NIOConnectionError {
            let cause = error.connectionErrors.first?.error as? IOError
            throw cause.map { SocketError($0, path: path, call: "connect") } ?? error
        }
    }

    /// Takes over a socket that is connected already.
    public static func adopt(
        descriptor: CInt, as side: Side = .worker, frameLimit: UInt32, on group: any EventLoopGroup,
        initializer: @escaping Initializer
    ) async throws -> any Channel {
        try await client(side, frameLimit, group, initializer).withConnectedSocket(descriptor).get()
    }

    // MARK: Pipelines

    private static func bootstrap(
        _ frameLimit: UInt32, _ group: any EventLoopGroup, _ initializer: @escaping Initializer
    ) -> ServerBootstrap {
        ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: backlog)
            .childChannelOption(.writeBufferWaterMark, value: writeWatermarks)
            .childChannelInitializer { prepare($0, .worker, frameLimit, initializer) }
    }

    private static func client(
        _ side: Side, _ frameLimit: UInt32, _ group: any EventLoopGroup, _ initializer: @escaping Initializer
    ) -> ClientBootstrap {
        ClientBootstrap(group: group)
            .channelOption(.writeBufferWaterMark, value: writeWatermarks)
            .channelInitializer { prepare($0, side, frameLimit, initializer) }
    }

    private static func prepare(
        _ channel: any Channel, _ side: Side, _ frameLimit: UInt32, _ initializer: Initializer
    ) -> EventLoopFuture<Void> {
        channel.eventLoop.makeCompletedFuture {
            if side == .worker { try channel.pipeline.syncOperations.addHandler(BackPressureHandler()) }
            try channel.pipeline.syncOperations.addHandler(FrameHandler(frameLimit: frameLimit))
            try initializer(channel, credentials(of: channel))
        }
    }

    /// By the channel's own descriptor, which NIO gives out only through its socket options.
    private static func credentials(of channel: any Channel) -> PeerCredentials? {
        guard let provider = channel as? any SocketOptionProvider else { return nil }
        let option = NIOBSDSocket.Option(rawValue: SO_PEERCRED)
        // A struct ucred, which is what PeerCredentials' three numbers lie in memory as. NIO checks the size.
        let reply: EventLoopFuture<PeerCredentials> = provider.unsafeGetSocketOption(level: .socket, name: option)
        var credentials: PeerCredentials?
        // On the channel's own event loop the answer is there already.
        reply.assumeIsolated().whenSuccess { credentials = $0 }
        return credentials
    }

    // MARK: Stale files

    /// A socket file on which nobody answers is what a killed worker leaves behind.
    private static func removeStale(_ path: String, on group: any EventLoopGroup) async throws {
        guard UnixSocket.exists(path: path) else { return }
        do {
            let probe = try await ClientBootstrap(group: group).connect(unixDomainSocketPath: path).get()
            try await probe.close()
            throw SocketError.inUse(path: path)
        } catch let error as SocketError {
            throw error
        } catch {
            // Only where nobody listens has its worker gone; a busy one's backlog may be full, and another's is not ours.
            guard (error as? IOError)?.errnoCode == ECONNREFUSED else {
                throw (error as? IOError).map { SocketError($0, path: path, call: "connect") } ?? error
            }
            // SAFETY: the string is lent for the call.
            let result = unsafe clinux_remove_socket(path)
            guard result == 0 || result == -ENOENT else {
                throw result == -ENOTSOCK
                    ? SocketError.notASocket(path: path)
                    : SocketError.failed(call: "unlink", path: path, errno: -result)
            }
        }
    }
}

extension SocketError {
    init(_ error: IOError, path: String, call: String) { self.init(errno: error.errnoCode, path: path, call: call) }

    init(errno: CInt, path: String, call: String) {
        switch errno {
        case ENOENT, ENOTDIR: self = call == "bind" ? .folderMissing(path: path) : .missing(path: path)
        case ECONNREFUSED: self = UnixSocket.isOther(path: path) ? .notASocket(path: path) : .refused(path: path)
        case EACCES, EPERM: self = .notPermitted(path: path)
        case EADDRINUSE: self = .inUse(path: path)
        case EAGAIN: self = .busy(path: path)
        case ENOTSOCK: self = .notASocket(path: path)
        default: self = .failed(call: call, path: path, errno: errno)
        }
    }
}
