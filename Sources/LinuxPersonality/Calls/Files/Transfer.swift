// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// A part of guest memory that a call fills or empties.
struct GuestBuffer: Sendable {
    var address: UInt64
    var count: Int
}

/// What a call of the `read` and `write` families is asked for: six ways to say it, for either direction.
struct Transfer: Sendable {
    var descriptor: Int32
    var buffers: [GuestBuffer]
    /// Where in the file; nil for where it stands, which moves on then.
    var position: Int?

    /// Bytes that the buffers have together.
    var total: Int { buffers.reduce(0) { $0 + $1.count } }
}

extension LinuxProcess {
    /// What one call transfers at most: `MAX_RW_COUNT`.
    static var maximumTransfer: UInt64 { 0x7FFF_F000 }
    /// How many buffers one call may name: `UIO_MAXIOV`.
    static var maximumBuffers: UInt64 { 1024 }

    /// `read`, `write`.
    func plain(_ arguments: CallArguments) -> Transfer {
        let count = Int(min(arguments[2], Self.maximumTransfer))
        return Transfer(descriptor: arguments.int(0), buffers: [GuestBuffer(address: arguments[1], count: count)])
    }

    /// `pread64`, `pwrite64`.
    func placed(_ arguments: CallArguments) throws(Errno) -> Transfer {
        var transfer = plain(arguments)
        transfer.position = try position(arguments.long(3))
        return transfer
    }

    /// `readv`, `writev`.
    mutating func scattered(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> Transfer {
        _ = try files.usableFile(arguments.int(0))
        return Transfer(descriptor: arguments.int(0), buffers: try buffers(arguments[1], arguments[2], memory))
    }

    /// `preadv`, `pwritev`.
    mutating func scatteredAndPlaced(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> Transfer {
        let place = try position(arguments.long(3))
        var transfer = try scattered(arguments, memory)
        transfer.position = place
        return transfer
    }

    /// `preadv2`, `pwritev2`: flags are not supported; offset -1 is the file's own.
    mutating func scatteredWithFlags(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> Transfer {
        guard arguments.int(5) == 0 else { throw .eopnotsupp }
        return arguments.long(3) == -1 ? try scattered(arguments, memory) : try scatteredAndPlaced(arguments, memory)
    }

    func position(_ offset: Int64) throws(Errno) -> Int {
        guard offset >= 0 else { throw .einval }
        return Int(offset)
    }

    /// The buffers of an array of `struct iovec`, cut off where their sum goes beyond ``maximumTransfer``.
    mutating func buffers(
        _ address: UInt64, _ count: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> [GuestBuffer] {
        guard count <= Self.maximumBuffers else { throw .einval }
        let record = GuestRecord(try space.read(address, count: Int(count) * 16, memory))
        var (buffers, room): ([GuestBuffer], UInt64) = ([], Self.maximumTransfer)
        for place in stride(from: 0, to: record.bytes.count, by: 16) {
            let length = record.number(at: place + 8, bytes: 8)
            guard length <= Int.max else { throw .einval }
            buffers.append(
                GuestBuffer(address: record.number(at: place, bytes: 8), count: Int(min(length, room))))
            room -= min(length, room)
        }
        return buffers
    }

    /// What has no place to read from: streams.
    func demandSeekable(_ file: OpenFile) throws(Errno) {
        switch file.kind {
        case .file, .directory, .device, .report: return
        default: throw .espipe
        }
    }

    /// Gives bytes that are there to buffers; they are taken from their source by the caller.
    mutating func deliver(
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

    /// The bytes of buffers, as many as lie before a bad address; that one fails only if it comes first.
    mutating func gather(
        _ buffers: [GuestBuffer], limit: Int, _ memory: borrowing GuestMemory
    ) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        for buffer in buffers where bytes.count < limit {
            let count = min(buffer.count, limit - bytes.count)
            do { try space.read(buffer.address, count: count, to: &bytes, memory) } catch {
                if !bytes.isEmpty { return bytes }
                throw error
            }
        }
        return bytes
    }
}
