// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// `socketpair`, and the calls on its ends but for those that move bytes.
extension LinuxProcess {
    /// What there is of sockets: pairs of `AF_UNIX` streams.
    private enum SocketKind {
        static let unix: Int32 = 1
        static let stream: UInt32 = 1
        /// The bits of a type that are no flags.
        static let typeMask: UInt32 = 0xF
        /// `SOL_SOCKET`
        static let level: Int32 = 1
    }

    private mutating func socketpair(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        // SOCK_NONBLOCK and SOCK_CLOEXEC have the numbers of O_NONBLOCK and O_CLOEXEC.
        let flags = OpenFlags(rawValue: arguments.uint(1) & ~SocketKind.typeMask)
        guard flags.isSubset(of: [.closeOnExec, .nonBlocking]) else { throw .einval }
        guard arguments.int(0) == SocketKind.unix else { throw .eafnosupport }
        // PF_UNIX is as good as none.
        guard arguments.uint(2) <= 1 else { throw .eprotonosupport }
        guard arguments.uint(1) & SocketKind.typeMask == SocketKind.stream else { throw .esocktnosupport }
        let ends = files.makeSockets()
        let (one, other): (Int32, Int32)
        do throws(Errno) { one = try open(ends.0, flags) } catch {
            files.closeSocket(ends.0)
            files.closeSocket(ends.1)
            throw error
        }
        do throws(Errno) { other = try open(ends.1, flags) } catch {
            try files.close(one)
            files.closeSocket(ends.1)
            throw error
        }
        do throws(Errno) {
            try put(UInt64(one) | UInt64(other) << 32, bytes: 8, at: arguments[3], memory)
        } catch {
            try files.close(one)
            try files.close(other)
            throw error
        }
        return .zero
    }

    private mutating func open(_ end: SocketEnd, _ flags: OpenFlags) throws(Errno) -> Int32 {
        let file = OpenFile(kind: .socket(end), flags: flags.intersection(.nonBlocking).union(.readWrite))
        return try files.add(file, closeOnExec: flags.contains(.closeOnExec))
    }

    /// The end behind a descriptor.
    func socket(_ descriptor: Int32) throws(Errno) -> SocketEnd {
        guard case .socket(let end) = try files.usableFile(descriptor).kind else { throw .enotsock }
        return end
    }

    private mutating func shutdown(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        let end = try socket(arguments.int(0))
        switch arguments.int(1) {
        case 0: files.shut(end.incoming)
        case 1: files.shut(end.outgoing)
        case 2:
            files.shut(end.incoming)
            files.shut(end.outgoing)
        default: throw .einval
        }
        return .zero
    }

    /// `getsockname`, `getpeername`: neither end has an address, of which its family is told nonetheless.
    private mutating func address(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd
    {
        _ = try socket(arguments.int(0))
        var record = GuestRecord()
        record.append(UInt64(SocketKind.unix), bytes: 2)
        return try putLimited(record.bytes, at: arguments[1], count: arguments[2], memory)
    }

    /// Fills a buffer as far as it reaches, of which the guest says the size where it then finds how much there was.
    private mutating func putLimited(
        _ bytes: [UInt8], at address: UInt64, count: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let room = Int32(bitPattern: try word32(count, memory))
        guard room >= 0 else { throw .einval }
        try space.write(bytes.prefix(Int(room)), at: address, memory)
        try put(UInt64(bytes.count), bytes: 4, at: count, memory)
        return .zero
    }

    private mutating func getsockopt(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let end = try socket(arguments.int(0))
        guard arguments.int(1) == SocketKind.level else { throw .eopnotsupp }
        let room = Int32(bitPattern: try word32(arguments[4], memory))
        guard room >= 0 else { throw .einval }
        var record = GuestRecord()
        record.append(try option(arguments.int(2), of: end))
        let part = record.bytes.prefix(Int(room))
        try put(UInt64(part.count), bytes: 4, at: arguments[4], memory)
        try space.write(part, at: arguments[3], memory)
        return .zero
    }

    /// The value of a `SO_*` that programs ask for.
    private mutating func option(_ option: Int32, of end: SocketEnd) throws(Errno) -> UInt32 {
        switch option {
        // SO_TYPE, SO_DOMAIN
        case 3: return SocketKind.stream
        case 39: return UInt32(SocketKind.unix)
        // SO_ERROR, which is told once.
        case 4: return files.takeReset(of: end) ? UInt32(Errno.econnreset.rawValue) : 0
        // SO_SNDBUF, SO_RCVBUF
        case 7, 8: return UInt32(Pipe.capacity)
        // SO_DEBUG, SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_ACCEPTCONN, SO_PROTOCOL: off, or none.
        case 1, 2, 5, 6, 9, 30, 38: return 0
        default: throw .enoprotoopt
        }
    }

    /// What a socket is told is taken and changes nothing, but for time limits, which would be missed.
    private mutating func setsockopt(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        _ = try socket(arguments.int(0))
        guard arguments.int(1) == SocketKind.level else { throw .eopnotsupp }
        guard arguments.int(4) >= 4 else { throw .einval }
        _ = try word32(arguments[3], memory)
        // SO_RCVTIMEO, SO_SNDTIMEO and their newer numbers.
        if [20, 21, 66, 67].contains(arguments.int(2)) { throw .enoprotoopt }
        return .zero
    }

    private func refuse(_ arguments: CallArguments, _ error: Errno) throws(Errno) -> CallEnd {
        _ = try socket(arguments.int(0))
        throw error
    }

    // MARK: The table

    mutating func performOnSockets(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .socketpair: try socketpair(arguments, memory)
        case .sendto: try sendto(arguments, memory)
        case .recvfrom: try recvfrom(arguments, memory)
        case .sendmsg: try sendmsg(arguments, memory)
        case .recvmsg: try recvmsg(arguments, memory)
        case .shutdown: try shutdown(arguments)
        case .getsockname, .getpeername: try address(arguments, memory)
        case .getsockopt: try getsockopt(arguments, memory)
        case .setsockopt: try setsockopt(arguments, memory)
        case .connect: try refuse(arguments, .eisconn)
        case .listen, .accept, .accept4: try refuse(arguments, .einval)
        case .bind, .sendmmsg, .recvmmsg: try refuse(arguments, .eopnotsupp)
        default: nil
        }
    }
}

/// What is supported of the calls on sockets.
enum SocketCallRows {
    static let rows: [CallRow] = [
        CallRow(
            calls: [.socketpair],
            supported: "AF_UNIX, SOCK_STREAM, 64 KiB in either direction; SOCK_NONBLOCK, SOCK_CLOEXEC",
            refused: "other families EAFNOSUPPORT; other types ESOCKTNOSUPPORT; other protocols EPROTONOSUPPORT"),
        CallRow(
            calls: [.sendto, .sendmsg], supported: "MSG_DONTWAIT, MSG_NOSIGNAL",
            refused: "an address EISCONN; control messages, MSG_OOB EOPNOTSUPP; no socket ENOTSOCK"),
        CallRow(
            calls: [.recvfrom, .recvmsg], supported: "MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL (64 KiB)",
            refused: "MSG_OOB EOPNOTSUPP; no socket ENOTSOCK"),
        CallRow(
            calls: [.shutdown, .getsockname, .getpeername], supported: "ends of a pair have no names",
            refused: "no socket ENOTSOCK"),
        CallRow(
            calls: [.getsockopt, .setsockopt],
            supported:
                "SO_TYPE, SO_ERROR, SO_DOMAIN, SO_PROTOCOL, SO_SNDBUF, SO_RCVBUF and what is off; setting changes nothing",
            refused: "other options, SO_RCVTIMEO, SO_SNDTIMEO ENOPROTOOPT; other levels EOPNOTSUPP; no socket ENOTSOCK"),
        CallRow(
            calls: [.bind, .listen, .accept, .accept4, .connect, .sendmmsg, .recvmmsg],
            refused: "connect EISCONN; listen, accept, accept4 EINVAL; others EOPNOTSUPP; no socket ENOTSOCK"),
    ]
}
