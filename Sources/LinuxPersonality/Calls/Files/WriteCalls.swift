// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    mutating func write(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try write(arguments.int(0), [buffer(arguments)], at: nil, memory)
    }

    mutating func pwrite64(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try write(arguments.int(0), [buffer(arguments)], at: try position(arguments.long(3)), memory)
    }

    mutating func writev(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        _ = try files.usableFile(arguments.int(0))
        return try write(arguments.int(0), try vector(arguments, memory), at: nil, memory)
    }

    mutating func pwritev(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let offset = try position(arguments.long(3))
        return try write(arguments.int(0), try vector(arguments, memory), at: offset, memory)
    }

    /// `pwritev2`: flags are not supported; offset -1 is the file's own.
    mutating func pwritev2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.int(5) == 0 else { throw .eopnotsupp }
        return arguments.long(3) == -1 ? try writev(arguments, memory) : try pwritev(arguments, memory)
    }

    private mutating func write(
        _ descriptor: Int32, _ buffers: [GuestBuffer], at position: Int?, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let number = try files.number(descriptor)
        let file = try files.usableFile(descriptor)
        if position != nil { try demandSeekable(file) }
        guard file.flags.canWrite else { throw .ebadf }
        switch file.kind {
        case .file(let inode):
            let appends = file.flags.contains(.append)
            let start = appends ? files.tree.size(inode) : position ?? file.offset
            let done = try store(buffers, in: inode, at: start, memory)
            if position == nil, done > 0 { files.open[number]?.offset = start + done }
            return .value(done)
        case .device(let device, _):
            if device == .full, Self.total(buffers) > 0 { throw .enospc }
            return .value(Self.total(buffers))
        case .output(let stream): return try write(buffers, to: stream, memory)
        case .pipeWriter(let pipe): return try write(buffers, to: pipe, file, memory)
        case .eventCounter(let counter): return try write(buffers, counter: counter, file, memory)
        case .epoll: throw .einval
        case .directory, .path, .standardInput, .pipeReader: throw .ebadf
        }
    }

    /// The bytes of buffers, as many as lie before a bad address; that one fails only if it comes first.
    private mutating func gather(
        _ buffers: [GuestBuffer], limit: Int, _ memory: borrowing GuestMemory
    ) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        for buffer in buffers where bytes.count < limit {
            let count = min(buffer.count, limit - bytes.count)
            do { bytes += try space.read(buffer.address, count: count, memory) } catch {
                if !bytes.isEmpty { return bytes }
                throw error
            }
        }
        return bytes
    }

    /// Copies from the guest into a file. What was written before a bad address, or before space ran out, counts.
    private mutating func store(
        _ buffers: [GuestBuffer], in inode: InodeNumber, at start: Int, _ memory: borrowing GuestMemory
    ) throws(Errno) -> Int {
        var done = 0
        for buffer in buffers {
            var taken = 0
            while taken < buffer.count {
                guard start < FileContent.maximumBytes - done else {
                    if done > 0 { return done }
                    throw .efbig
                }
                let inside = (start + done) % Self.pieceBytes
                let room = min(Self.pieceBytes - inside, FileContent.maximumBytes - start - done)
                let count = min(buffer.count - taken, room)
                do throws(Errno) {
                    let bytes = try space.read(buffer.address &+ UInt64(taken), count: count, memory)
                    try files.tree.write(bytes[...], to: inode, at: start + done, time: now)
                } catch {
                    if done > 0 { return done }
                    throw error
                }
                taken += count
                done += count
            }
        }
        return done
    }

    /// Takes at most ``OutputStream/maximumWrite`` bytes; the guest comes back for the rest when they are sent.
    private mutating func write(
        _ buffers: [GuestBuffer], to stream: OutputStream, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let bytes = try gather(buffers, limit: OutputStream.maximumWrite, memory)
        if let last = outbox.indices.last, outbox[last].stream == stream {
            outbox[last].bytes += bytes
        } else if !bytes.isEmpty {
            outbox.append(Outgoing(stream: stream, bytes: bytes))
        }
        return .value(bytes.count)
    }

    /// Up to ``Pipe/atomicBytes`` go in as one piece; more go in as far as there is room, and the call ends with what went in.
    private mutating func write(
        _ buffers: [GuestBuffer], to pipe: ObjectNumber, _ file: OpenFile, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let wanted = Self.total(buffers)
        if wanted == 0 { return .zero }
        guard let there = files.pipes[pipe], there.readers > 0 else { throw .epipe }
        guard there.room >= (wanted <= Pipe.atomicBytes ? wanted : 1) else {
            if file.flags.contains(.nonBlocking) { throw .eagain }
            return .wait(Wait(events: [.object(pipe), .signal], deadline: nil))
        }
        let bytes = try gather(buffers, limit: there.room, memory)
        files.pipes[pipe]?.append(bytes)
        files.raise(pipe)
        return .value(bytes.count)
    }

    private mutating func write(
        _ buffers: [GuestBuffer], counter: ObjectNumber, _ file: OpenFile, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let bytes = try gather(buffers, limit: 8, memory)
        guard bytes.count == 8, let there = files.counters[counter] else { throw .einval }
        let addend = bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
        guard addend <= EventCounter.maximum else { throw .einval }
        guard addend <= EventCounter.maximum - there.value else {
            if file.flags.contains(.nonBlocking) { throw .eagain }
            return .wait(Wait(events: [.object(counter), .signal], deadline: nil))
        }
        files.counters[counter]?.value += addend
        files.raise(counter)
        return .value(8)
    }
}
