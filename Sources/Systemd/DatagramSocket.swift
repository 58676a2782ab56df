// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CSystemd
internal import Glibc

/// A datagram socket of the Unix family that is connected for good. A worker in its sandbox can write to it, and can neither make
/// another nor send to anybody else.
final class DatagramSocket: Sendable {
    /// The longest datagram that is asked for, in bytes; the kernel gives at most twice `net.core.wmem_max`.
    static let bytes: CInt = 1 << 20

    private let descriptor: CInt

    /// Connects to a path, or to an abstract address where it begins with "@".
    ///
    /// `socket`, `connect`.
    init(connectedTo address: String) throws(SystemCallError) {
        var (name, length) = try Self.socketAddress(address)
        let descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemCallError(call: "socket", code: errno) }
        var size = Self.bytes
        // SAFETY: the kernel reads one number.
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<CInt>.size))
        // SAFETY: a `sockaddr_un` is a socket address, of which the kernel reads as much as `length` says.
        let result = unsafe withUnsafePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe connect(descriptor, $0, length) }
        }
        guard result == 0 else {
            let code = errno
            _ = close(descriptor)
            throw SystemCallError(call: "connect", code: code)
        }
        self.descriptor = descriptor
    }

    deinit { _ = close(descriptor) }

    /// Sends one datagram, wholly or not at all. Blocks while the receiver's queue is full. `write`
    func send(_ bytes: [UInt8]) throws(SystemCallError) {
        while true {
            // SAFETY: the kernel reads no more than the buffer's length.
            let (written, code) = unsafe bytes.withUnsafeBytes { raw in
                let written = unsafe Glibc.write(descriptor, raw.baseAddress, raw.count)
                return (written, errno)
            }
            if written >= 0 { return }
            guard code == EINTR else { throw SystemCallError(call: "write", code: code) }
        }
    }

    private static func socketAddress(_ address: String) throws(SystemCallError) -> (sockaddr_un, socklen_t) {
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        let isAbstract = address.hasPrefix("@")
        // An abstract name begins with a zero and has no end but its length.
        let bytes = isAbstract ? [0] + Array(address.utf8.dropFirst()) : Array(address.utf8) + [0]
        guard isAbstract || address.hasPrefix("/") else { throw SystemCallError(call: "connect", code: EAFNOSUPPORT) }
        // SAFETY: the path is a field of plain bytes, and no more are stored than it has.
        let fits = unsafe withUnsafeMutableBytes(of: &name.sun_path) { path in
            guard bytes.count <= path.count else { return false }
            unsafe path.copyBytes(from: bytes)
            return true
        }
        guard fits else { throw SystemCallError(call: "connect", code: ENAMETOOLONG) }
        return (name, socklen_t(MemoryLayout<sa_family_t>.size + bytes.count))
    }
}
