// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// The flags of calls that send and receive; others mean nothing to streams.
struct MessageFlags: OptionSet, Sendable {
    let rawValue: UInt32

    static let outOfBand = MessageFlags(rawValue: 0x1)
    static let peek = MessageFlags(rawValue: 0x2)
    static let doNotWait = MessageFlags(rawValue: 0x40)
    static let waitAll = MessageFlags(rawValue: 0x100)
    static let noSignal = MessageFlags(rawValue: 0x4000)
}

/// Bytes into sockets and out of them.
extension LinuxProcess {
    /// Puts as many bytes on their way as there is room for, and waits where there is none.
    mutating func send(
        _ buffers: [GuestBuffer], through end: SocketEnd, _ file: OpenFile, _ flags: MessageFlags,
        _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard !flags.contains(.outOfBand) else { throw .eopnotsupp }
        guard let pipe = files.pipes[end.outgoing], !pipe.isBroken else {
            // An error that is thrown comes with a signal.
            if flags.contains(.noSignal) { return .value(Errno.epipe.returnValue) }
            throw .epipe
        }
        let room = pipe.room
        guard buffers.contains(where: { $0.count > 0 }) else { return .zero }
        guard room > 0 else { return try notYet(flags.applied(to: file), .object(end.outgoing)) }
        let bytes = try gather(buffers, limit: room, memory)
        files.pipes[end.outgoing]?.append(bytes)
        files.raise(end.outgoing)
        return .value(bytes.count)
    }

    /// Takes bytes that have come, or (`MSG_PEEK`) looks at them.
    mutating func receive(
        _ buffers: [GuestBuffer], from end: SocketEnd, _ file: OpenFile, _ flags: MessageFlags,
        _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard !flags.contains(.outOfBand) else { throw .eopnotsupp }
        let wanted = buffers.reduce(0) { $0 + $1.count }
        guard wanted > 0, let pipe = files.pipes[end.incoming] else { return .zero }
        let file = flags.applied(to: file)
        if pipe.count == 0 {
            if files.takeReset(of: end) { throw .econnreset }
            return pipe.hasEnded ? .zero : try notYet(file, .object(end.incoming))
        }
        if flags.contains(.waitAll), !flags.contains(.peek), !file.flags.contains(.nonBlocking), !pipe.hasEnded,
            pipe.count < min(wanted, Pipe.capacity)
        {
            return try notYet(file, .object(end.incoming))
        }
        let done = try deliver(pipe.peek(wanted), to: buffers, memory)
        guard !flags.contains(.peek) else { return .value(done) }
        files.pipes[end.incoming]?.drop(done)
        files.raise(end.incoming)
        return .value(done)
    }

    // MARK: Calls

    /// `sendto`; `send` is the same without an address.
    mutating func sendto(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let end = try socket(arguments.int(0))
        guard arguments[4] == 0 || arguments.int(5) == 0 else { throw .eisconn }
        let flags = MessageFlags(rawValue: arguments.uint(3))
        return try send(
            plain(arguments).buffers, through: end, try files.file(arguments.int(0)), flags, memory)
    }

    /// `recvfrom`; nobody sends from an address.
    mutating func recvfrom(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let end = try socket(arguments.int(0))
        let flags = MessageFlags(rawValue: arguments.uint(3))
        let received = try receive(
            plain(arguments).buffers, from: end, try files.file(arguments.int(0)), flags, memory)
        if case .value = received, arguments[4] != 0 { try put(0, bytes: 4, at: arguments[5], memory) }
        return received
    }

    /// `struct msghdr`, as far as it matters.
    private struct Header {
        static let bytes = 56
        /// Where the fields lie that the kernel fills: the lengths of the address and of the control messages, and the flags.
        static let filled: (name: UInt64, control: UInt64, flags: UInt64) = (8, 40, 48)

        var name: UInt64
        var nameBytes: UInt64
        var controlBytes: UInt64
        var buffers: [GuestBuffer]
    }

    private mutating func header(at address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> Header {
        let record = GuestRecord(try space.read(address, count: Header.bytes, memory))
        let count = record.number(at: 24, bytes: 8)
        guard count <= Self.maximumBuffers else { throw .emsgsize }
        return Header(
            name: record.number(at: 0, bytes: 8), nameBytes: record.number(at: 8, bytes: 4),
            controlBytes: record.number(at: 40, bytes: 8),
            buffers: try buffers(record.number(at: 16, bytes: 8), count, memory))
    }

    /// `sendmsg`: descriptors and credentials do not go along.
    mutating func sendmsg(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let end = try socket(arguments.int(0))
        let header = try header(at: arguments[1], memory)
        guard header.controlBytes == 0 else { throw .eopnotsupp }
        guard header.name == 0 || header.nameBytes == 0 else { throw .eisconn }
        let flags = MessageFlags(rawValue: arguments.uint(2))
        return try send(header.buffers, through: end, try files.file(arguments.int(0)), flags, memory)
    }

    /// `recvmsg`
    mutating func recvmsg(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let end = try socket(arguments.int(0))
        let header = try header(at: arguments[1], memory)
        let flags = MessageFlags(rawValue: arguments.uint(2))
        let received = try receive(header.buffers, from: end, try files.file(arguments.int(0)), flags, memory)
        guard case .value = received else { return received }
        if header.name != 0 { try put(0, bytes: 4, at: arguments[1] &+ Header.filled.name, memory) }
        try put(0, bytes: 8, at: arguments[1] &+ Header.filled.control, memory)
        try put(0, bytes: 4, at: arguments[1] &+ Header.filled.flags, memory)
        return received
    }
}

extension MessageFlags {
    /// The file as a call with these flags takes it.
    fileprivate func applied(to file: OpenFile) -> OpenFile {
        var file = file
        if contains(.doNotWait) { file.flags.insert(.nonBlocking) }
        return file
    }
}
