// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import Testing

@testable import Systemd

struct ActivatedSocketsTests {
    @Test func `a listening socket is found by name and stays open after release`() throws {
        let listener = try UnixSocket.listening()
        var sockets = ActivatedSockets([("other", try UnixSocket.pair().0), ("api", listener)])
        let taken = try #require(try takeParts(&sockets, "api"))
        #expect(taken.role == .listening)
        #expect(taken.descriptor == listener)
        #expect(sockets.names == ["other"])
        #expect(isOpen(listener))
        close(listener)
    }

    @Test func `a connected socket is told from a listening one`() throws {
        let (ours, theirs) = try UnixSocket.pair()
        defer { close(theirs) }
        var sockets = ActivatedSockets([(ActivatedSockets.connectionName, ours)])
        let taken = try #require(try takeParts(&sockets, "connection"))
        #expect(taken.role == .connected)
        close(taken.descriptor)
    }

    @Test func `a name that was not passed is nil`() throws {
        var sockets = ActivatedSockets([])
        #expect(try takeParts(&sockets, "api") == nil)
    }

    @Test func `two sockets of one name are refused`() throws {
        let (first, second) = try UnixSocket.pair()
        var sockets = ActivatedSockets([("api", first), ("api", second)])
        #expect(throws: SocketActivationError.ambiguous(name: "api", count: 2)) { try takeParts(&sockets, "api") }
    }

    @Test(arguments: [SOCK_DGRAM, SOCK_STREAM])
    func `a datagram socket and an unconnected stream socket are refused`(_ type: __socket_type) throws {
        let useless = socket(AF_UNIX, CInt(type.rawValue), 0)
        try #require(useless >= 0)
        var sockets = ActivatedSockets([("api", useless)])
        #expect(throws: SocketActivationError.notUnixStream(name: "api")) { try takeParts(&sockets, "api") }
    }

    @Test func `sockets that nobody took are closed`() throws {
        let (ours, theirs) = try UnixSocket.pair()
        defer { close(theirs) }
        do {
            let sockets = ActivatedSockets([("api", ours)])
            #expect(sockets.names == ["api"])
        }
        // The end of file says that the other end has no owner left; its number may be in use again by now.
        var byte: UInt8 = 0
        #expect(read(theirs, &byte, 1) == 0)
    }

    @Test func `the environment of the service manager is read once and removed`() async {
        await #expect(processExitsWith: .success) {
            // The manager's descriptors start at 3. What this process has there moves up; it is not used below.
            let (ours, _) = try UnixSocket.pair()
            try #require(dup2(ours, 3) == 3)
            setenv("LISTEN_PID", "\(getpid())", 1)
            setenv("LISTEN_FDS", "1", 1)
            setenv("LISTEN_FDNAMES", "api", 1)
            var sockets = try ActivatedSockets.adopt()
            let parts = try takeParts(&sockets, "api")
            let again = try ActivatedSockets.adopt()
            let isRight = parts?.descriptor == 3 && parts?.role == .connected
            exit(isRight && again.names.isEmpty && getenv("LISTEN_FDS") == nil ? 0 : 1)
        }
    }
}

private struct Parts: Equatable {
    var role: SocketRole
    var descriptor: CInt
}

private func takeParts(_ sockets: inout ActivatedSockets, _ name: String) throws -> Parts? {
    guard let socket = try sockets.take(named: name) else { return nil }
    return Parts(role: socket.role, descriptor: socket.release())
}

private func isOpen(_ descriptor: CInt) -> Bool { fcntl(descriptor, F_GETFD) >= 0 }
