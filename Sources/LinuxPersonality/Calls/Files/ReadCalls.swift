// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// A part of guest memory that a call fills or empties.
struct GuestBuffer: Sendable {
    var address: UInt64
    var count: Int
}

extension LinuxProcess {
    mutating func read(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try read(arguments.int(0), [buffer(arguments)], at: nil, memory)
    }

    mutating func pread64(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try read(arguments.int(0), [buffer(arguments)], at: try position(arguments.long(3)), memory)
    }

    mutating func readv(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        _ = try files.usableFile(arguments.int(0))
        return try read(arguments.int(0), try vector(arguments, memory), at: nil, memory)
    }

    mutating func preadv(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let offset = try position(arguments.long(3))
        return try read(arguments.int(0), try vector(arguments, memory), at: offset, memory)
    }

    /// `preadv2`: flags are not supported; offset -1 is the file's own.
    mutating func preadv2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.int(5) == 0 else { throw .eopnotsupp }
        return arguments.long(3) == -1 ? try readv(arguments, memory) : try preadv(arguments, memory)
    }

    func position(_ offset: Int64) throws(Errno) -> Int {
        guard offset >= 0 else { throw .einval }
        return Int(offset)
    }

    func buffer(_ arguments: CallArguments) -> GuestBuffer {
        GuestBuffer(address: arguments[1], count: Int(min(arguments[2], Self.maximumTransfer)))
    }

    /// The buffers of an array of `struct iovec`, cut off where their sum goes beyond ``maximumTransfer``.
    mutating func vector(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> [GuestBuffer] {
        guard arguments[2] <= 1024 else { throw .einval }
        let bytes = try space.read(arguments[1], count: Int(arguments[2]) * 16, memory)
        var (buffers, room): ([GuestBuffer], UInt64) = ([], Self.maximumTransfer)
        for index in 0..<Int(arguments[2]) {
            let words = bytes[index * 16..<index * 16 + 16]
            let address = words.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
            let count = words.suffix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
            guard count <= Int.max else { throw .einval }
            buffers.append(GuestBuffer(address: address, count: Int(min(count, room))))
            room -= min(count, room)
        }
        return buffers
    }

    /// Fills buffers from a file, one after the other.
    private mutating func read(
        _ descriptor: Int32, _ buffers: [GuestBuffer], at position: Int?, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let number = try files.number(descriptor)
        let file = try files.usableFile(descriptor)
        if position != nil { try demandSeekable(file) }
        guard file.flags.canRead else { throw .ebadf }
        switch file.kind {
        case .directory: throw .eisdir
        case .file(let inode):
            let start = position ?? file.offset
            let done = try copy(inode, from: start, to: buffers, memory)
            if position == nil { files.open[number]?.offset = start + done }
            return .value(done)
        case .device(let device, _): return try read(device, buffers, memory)
        case .standardInput: return try readStandardInput(file, buffers, memory)
        case .pipeReader(let pipe): return try read(pipe: pipe, file, buffers, memory)
        case .eventCounter(let counter): return try read(counter: counter, file, buffers, memory)
        case .epoll: throw .einval
        case .output, .pipeWriter, .path: throw .ebadf
        }
    }

    /// What has no place to read from: streams.
    func demandSeekable(_ file: OpenFile) throws(Errno) {
        switch file.kind {
        case .file, .directory, .device: return
        default: throw .espipe
        }
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

    /// Gives bytes that are there to buffers; they are taken from their source by the caller.
    private mutating func deliver(
        _ bytes: ArraySlice<UInt8>, to buffers: [GuestBuffer], _ memory: borrowing GuestMemory
    ) throws(Errno) -> Int {
        var rest = bytes
        for buffer in buffers where !rest.isEmpty {
            let part = rest.prefix(buffer.count)
            do { try space.write(part, at: buffer.address, memory) } catch {
                let done = bytes.count - rest.count
                if done > 0 { return done }
                throw error
            }
            rest = rest.dropFirst(part.count)
        }
        return bytes.count - rest.count
    }

    static func total(_ buffers: [GuestBuffer]) -> Int { buffers.reduce(0) { $0 + $1.count } }

    private mutating func read(
        _ device: Device, _ buffers: [GuestBuffer], _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        if device == .null || device == .ready { return .zero }
        let wanted = min(Self.total(buffers), 16 * Self.pieceBytes)
        let isRandom = device == .random || device == .urandom
        let bytes = isRandom ? random.bytes(wanted) : [UInt8](repeating: 0, count: wanted)
        return .value(try deliver(bytes[...], to: buffers, memory))
    }

    private mutating func readStandardInput(
        _ file: OpenFile, _ buffers: [GuestBuffer], _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let wanted = Self.total(buffers)
        if wanted == 0 { return .zero }
        if standardInput.count == 0 {
            if standardInput.hasEnded { return .zero }
            if file.flags.contains(.nonBlocking) { throw .eagain }
            return .wait(Wait(events: [.standardInput, .signal], deadline: nil))
        }
        let done = try deliver(standardInput.peek(wanted), to: buffers, memory)
        standardInput.drop(done)
        return .value(done)
    }

    private mutating func read(
        pipe: ObjectNumber, _ file: OpenFile, _ buffers: [GuestBuffer], _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let wanted = Self.total(buffers)
        guard wanted > 0, let there = files.pipes[pipe] else { return .zero }
        if there.count == 0 {
            if there.writers == 0 { return .zero }
            if file.flags.contains(.nonBlocking) { throw .eagain }
            return .wait(Wait(events: [.object(pipe), .signal], deadline: nil))
        }
        let done = try deliver(there.peek(wanted), to: buffers, memory)
        files.pipes[pipe]?.drop(done)
        files.raise(pipe)
        return .value(done)
    }

    private mutating func read(
        counter: ObjectNumber, _ file: OpenFile, _ buffers: [GuestBuffer], _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard Self.total(buffers) >= 8, let there = files.counters[counter] else { throw .einval }
        if there.value == 0 {
            if file.flags.contains(.nonBlocking) { throw .eagain }
            return .wait(Wait(events: [.object(counter), .signal], deadline: nil))
        }
        let taken = there.isSemaphore ? 1 : there.value
        var record = GuestRecord()
        record.append(taken)
        _ = try deliver(record.bytes[...], to: buffers, memory)
        files.counters[counter]?.value -= taken
        files.raise(counter)
        return .value(8)
    }
}
