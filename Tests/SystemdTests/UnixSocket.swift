// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import Testing

/// Sockets for tests.
enum UnixSocket {
    /// Two ends of one stream connection.
    static func pair() throws -> (CInt, CInt) {
        var ends: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends) == 0)
        return (ends[0], ends[1])
    }

    /// A stream socket that listens at an abstract address of the kernel's choice.
    static func listening() throws -> CInt {
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        try bindAnywhere(descriptor)
        try #require(listen(descriptor, 1) == 0)
        return descriptor
    }

    /// A datagram socket and its address as `NOTIFY_SOCKET` writes it.
    static func datagram() throws -> (descriptor: CInt, address: String) {
        let descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
        try bindAnywhere(descriptor)
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        try #require(result == 0)
        // An abstract name starts with a zero byte, written as "@", and ends where the length says.
        let name = withUnsafeBytes(of: &address.sun_path) { path in
            String(decoding: path[1..<Int(length) - MemoryLayout<sa_family_t>.size], as: UTF8.self)
        }
        return (descriptor, "@" + name)
    }

    /// The next datagram, or nil if none is there.
    static func receive(_ descriptor: CInt) -> String? {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &buffer, buffer.count, CInt(MSG_DONTWAIT))
        return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
    }

    /// Autobind: an address of the family's size alone makes the kernel choose a free abstract name.
    private static func bindAnywhere(_ descriptor: CInt) throws {
        try #require(descriptor >= 0)
        var address = sockaddr()
        address.sa_family = sa_family_t(AF_UNIX)
        try #require(bind(descriptor, &address, socklen_t(MemoryLayout<sa_family_t>.size)) == 0)
    }
}
