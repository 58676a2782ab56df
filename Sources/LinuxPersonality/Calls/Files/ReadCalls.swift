// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    /// Fills buffers from a file, one after the other.
    mutating func read(_ transfer: Transfer, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let number = try files.number(transfer.descriptor)
        let file = try files.usableFile(transfer.descriptor)
        if transfer.position != nil { try demandSeekable(file) }
        guard file.flags.canRead else { throw .ebadf }
        let start = transfer.position ?? file.offset
        let done: Int
        switch file.kind {
        case .directory: throw .eisdir
        case .file(let inode): done = try copy(inode, from: start, to: transfer.buffers, memory)
        case .report(let report, _): done = try read(report, number, from: start, transfer, memory)
        case .device(let device, _): return try read(device, transfer, memory)
        case .standardInput: return try readStandardInput(file, transfer, memory)
        case .pipeReader(let pipe): return try read(pipe: pipe, file, transfer, memory)
        case .socket(let end): return try receive(transfer.buffers, from: end, file, [], memory)
        case .eventCounter(let counter): return try read(counter: counter, file, transfer, memory)
        case .timer(let timer): return try read(timer: timer, file, transfer, memory)
        case .epoll: throw .einval
        case .output, .pipeWriter, .path: throw .ebadf
        }
        if transfer.position == nil { files.open[number]?.offset = start + done }
        return .value(done)
    }

    /// Copies from a file straight into the guest. What was copied before a bad address counts.
    private mutating func copy(
        _ inode: InodeNumber, from start: Int, to buffers: [GuestBuffer], _ memory: borrowing GuestMemory
    ) throws(Errno) -> Int {
        var done = 0
        for buffer in buffers {
            var filled = 0
            while filled < buffer.count {
                guard start <= Int.max - done else { return done }
                let limit = min(buffer.count - filled, Self.pieceBytes)
                let piece = files.tree.piece(of: inode, from: start + done, limit: limit)
                if piece.isEmpty { return done }
                do { try space.write(piece, at: buffer.address &+ UInt64(filled), memory) } catch {
                    if done > 0 { return done }
                    throw error
                }
                filled += piece.count
                done += piece.count
            }
        }
        return done
    }

    /// A report is made whenever it is read from its beginning, and stays as it is for whoever reads on.
    private mutating func read(
        _ report: ProcessReport, _ number: OpenFileNumber, from start: Int, _ transfer: Transfer,
        _ memory: borrowing GuestMemory
    ) throws(Errno) -> Int {
        var text = files.open[number]?.report ?? []
        if start == 0 || text.isEmpty {
            text = self.text(of: report, memory)
            files.open[number]?.report = text
        }
        return try deliver(text.dropFirst(start).prefix(transfer.total), to: transfer.buffers, memory)
    }

    private mutating func read(
        _ device: Device, _ transfer: Transfer, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        if device == .null || device == .ready { return .zero }
        let wanted = min(transfer.total, 16 * Self.pieceBytes)
        let isRandom = device == .random || device == .urandom
        let bytes = isRandom ? random.bytes(wanted) : [UInt8](repeating: 0, count: wanted)
        return .value(try deliver(bytes[...], to: transfer.buffers, memory))
    }

    private mutating func readStandardInput(
        _ file: OpenFile, _ transfer: Transfer, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let wanted = transfer.total
        if wanted == 0 { return .zero }
        if standardInput.count == 0 {
            return standardInput.hasEnded ? .zero : try notYet(file, .standardInput)
        }
        let done = try deliver(standardInput.peek(wanted), to: transfer.buffers, memory)
        standardInput.drop(done)
        return .value(done)
    }

    private mutating func read(
        pipe: ObjectNumber, _ file: OpenFile, _ transfer: Transfer, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let wanted = transfer.total
        guard wanted > 0, let there = files.pipes[pipe] else { return .zero }
        if there.count == 0 { return there.writers == 0 ? .zero : try notYet(file, .object(pipe)) }
        let done = try deliver(there.peek(wanted), to: transfer.buffers, memory)
        files.pipes[pipe]?.drop(done)
        files.raise(pipe)
        return .value(done)
    }

    private mutating func read(
        counter: ObjectNumber, _ file: OpenFile, _ transfer: Transfer, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard transfer.total >= 8, let there = files.counters[counter] else { throw .einval }
        if there.value == 0 { return try notYet(file, .object(counter)) }
        let taken = there.isSemaphore ? 1 : there.value
        let end = try deliver(word: taken, transfer, memory)
        files.counters[counter]?.value -= taken
        files.raise(counter)
        return end
    }

    private mutating func read(
        timer: ObjectNumber, _ file: OpenFile, _ transfer: Transfer, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard transfer.total >= 8, let there = files.timers[timer] else { throw .einval }
        let expirations = there.expirations(at: moment.monotonic)
        if expirations == 0 { return try notYet(file, .object(timer), until: there.next) }
        let end = try deliver(word: expirations, transfer, memory)
        files.timers[timer]?.forgetExpirations(at: moment.monotonic)
        return end
    }

    private mutating func deliver(
        word: UInt64, _ transfer: Transfer, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        var record = GuestRecord()
        record.append(word)
        _ = try deliver(record.bytes[...], to: transfer.buffers, memory)
        return .value(8)
    }

    /// How a call on a file ends that cannot go on yet.
    func notYet(_ file: OpenFile, _ event: WaitEvent, until instant: UInt64? = nil) throws(Errno) -> CallEnd {
        if file.flags.contains(.nonBlocking) { throw .eagain }
        return .wait(Wait(events: [event, .signal], deadline: instant))
    }
}
