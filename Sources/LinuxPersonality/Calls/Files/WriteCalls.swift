// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    /// Empties buffers into a file, one after the other.
    mutating func write(_ transfer: Transfer, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let number = try files.number(transfer.descriptor)
        let file = try files.usableFile(transfer.descriptor)
        if transfer.position != nil { try demandSeekable(file) }
        guard file.flags.canWrite else { throw .ebadf }
        switch file.kind {
        case .file(let inode):
            let appends = file.flags.contains(.append)
            let start = appends ? files.tree.size(inode) : transfer.position ?? file.offset
            let done = try store(transfer.buffers, in: inode, at: start, memory)
            if transfer.position == nil, done > 0 { files.open[number]?.offset = start + done }
            return .value(done)
        case .device(let device, _):
            if device == .full, transfer.total > 0 { throw .enospc }
            return .value(transfer.total)
        case .output(let stream): return try write(transfer.buffers, to: stream, memory)
        case .pipeWriter(let pipe): return try write(transfer, to: pipe, file, memory)
        case .socket(let end): return try send(transfer.buffers, through: end, file, [], memory)
        case .eventCounter(let counter): return try write(transfer, counter: counter, file, memory)
        case .epoll, .timer: throw .einval
        case .directory, .path, .standardInput, .pipeReader, .report: throw .ebadf
        }
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
        _ transfer: Transfer, to pipe: ObjectNumber, _ file: OpenFile, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let wanted = transfer.total
        if wanted == 0 { return .zero }
        guard let there = files.pipes[pipe], there.readers > 0 else { throw .epipe }
        guard there.room >= (wanted <= Pipe.atomicBytes ? wanted : 1) else {
            return try notYet(file, .object(pipe))
        }
        let bytes = try gather(transfer.buffers, limit: there.room, memory)
        files.pipes[pipe]?.append(bytes)
        files.raise(pipe)
        return .value(bytes.count)
    }

    private mutating func write(
        _ transfer: Transfer, counter: ObjectNumber, _ file: OpenFile, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let bytes = try gather(transfer.buffers, limit: 8, memory)
        guard bytes.count == 8, let there = files.counters[counter] else { throw .einval }
        let addend = GuestRecord(bytes).number(at: 0, bytes: 8)
        guard addend <= EventCounter.maximum else { throw .einval }
        guard addend <= EventCounter.maximum - there.value else {
            return try notYet(file, .object(counter))
        }
        files.counters[counter]?.value += addend
        files.raise(counter)
        return .value(8)
    }
}
