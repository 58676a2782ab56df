// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Bytes from one descriptor to another.
extension LinuxProcess {
    /// `sendfile`: from a file to a file or a standard output, at most ``pieceBytes`` in a call; to anything else EINVAL.
    mutating func sendfile(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try transfer(
            (arguments.int(1), arguments[2]), (arguments.int(0), 0), arguments[3], memory)
    }

    /// `copy_file_range`: between files, at most ``pieceBytes`` in a call.
    mutating func copyFileRange(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.uint(5) == 0 else { throw .einval }
        guard case .file = try files.usableFile(arguments.int(2)).kind else { throw .einval }
        return try transfer(
            (arguments.int(0), arguments[1]), (arguments.int(2), arguments[3]), arguments[4], memory)
    }

    private typealias End = (descriptor: Int32, offset: UInt64)

    private mutating func transfer(
        _ from: End, _ to: End, _ count: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let (source, sink) = (try files.usableFile(from.descriptor), try files.usableFile(to.descriptor))
        guard source.flags.canRead, sink.flags.canWrite else { throw .ebadf }
        guard case .file(let input) = source.kind else { throw .einval }
        let start = from.offset == 0 ? source.offset : try position(Int64(bitPattern: try word64(from.offset, memory)))
        let piece = files.tree.piece(of: input, from: start, limit: Int(min(count, UInt64(Self.pieceBytes))))
        if piece.isEmpty { return .zero }
        switch sink.kind {
        case .file(let output): try store(piece, in: output, sink, to, memory)
        case .output(let stream): outbox.append(Outgoing(stream: stream, bytes: Array(piece)))
        default: throw .einval
        }
        try advance(from, to: start + piece.count, memory)
        return .value(piece.count)
    }

    private mutating func store(
        _ piece: ArraySlice<UInt8>, in output: InodeNumber, _ sink: OpenFile, _ to: End, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        guard !sink.flags.contains(.append) else { throw .ebadf }
        let place = to.offset == 0 ? sink.offset : try position(Int64(bitPattern: try word64(to.offset, memory)))
        guard place < FileContent.maximumBytes - piece.count else { throw .efbig }
        try files.tree.write(piece, to: output, at: place, time: now)
        try advance(to, to: place + piece.count, memory)
    }

    /// Moves the offset that the guest gave, or else the file's own.
    private mutating func advance(_ end: End, to offset: Int, _ memory: borrowing GuestMemory) throws(Errno) {
        if end.offset != 0 {
            try put(UInt64(offset), bytes: 8, at: end.offset, memory)
        } else {
            files.open[try files.number(end.descriptor)]?.offset = offset
        }
    }
}
