// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// How file calls take their arguments from the guest and give it what they found.
extension LinuxProcess {
    /// How much is copied from the guest at a time.
    static var pieceBytes: Int { FileContent.chunkBytes }

    mutating func path(_ address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> [UInt8] {
        try space.cString(at: address, limit: PathEnd.maximumBytes - 1, memory)
    }

    mutating func word32(_ address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> UInt32 {
        UInt32(truncatingIfNeeded: try space.readWord(address, bytes: 4, memory))
    }

    mutating func word64(_ address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> UInt64 {
        try space.readWord(address, bytes: 8, memory)
    }

    mutating func put(
        _ value: UInt64, bytes: Int, at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        var record = GuestRecord()
        record.append(value, bytes: bytes)
        try space.write(record.bytes, at: address, memory)
    }

    /// Walks a path that is given by a directory's descriptor and a string.
    mutating func lookup(
        _ directory: Int32, _ path: [UInt8], follows: Bool, followsBeforeSlash: Bool = true
    ) throws(Errno) -> PathEnd {
        // An empty path is refused before its directory is looked at.
        guard !path.isEmpty else { throw .enoent }
        return try files.tree.find(
            path, from: try files.start(directory, path), follows: follows, followsBeforeSlash: followsBeforeSlash)
    }

    /// What a path leads to that must be there.
    mutating func target(
        _ directory: Int32, _ path: [UInt8], follows: Bool
    ) throws(Errno) -> PathEnd.Target {
        try files.existing(try lookup(directory, path, follows: follows))
    }

    /// The inode behind a path; what is no file of the tree is refused.
    mutating func inode(
        _ directory: Int32, _ path: [UInt8], follows: Bool
    ) throws(Errno) -> InodeNumber {
        switch try target(directory, path, follows: follows) {
        case .inode(let number): return number
        case .descriptor(let descriptor):
            guard let number = try files.fileThroughProc(descriptor).inode else { throw .eperm }
            return number
        }
    }

    var now: FileTime { FileTime(realtime: moment.realtime) }
}

/// Numbers one behind the other, as the kernel's structures have them: little-endian.
struct GuestRecord {
    private(set) var bytes: [UInt8]

    init(_ bytes: [UInt8] = []) { self.bytes = bytes }

    /// A number of 1 to 8 bytes that is there.
    func number(at offset: Int, bytes count: Int) -> UInt64 {
        bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func append(_ value: UInt64, bytes count: Int) {
        for shift in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift * 8))) }
    }

    mutating func append(_ value: UInt32) { append(UInt64(value), bytes: 4) }

    mutating func append(_ value: UInt64) { append(value, bytes: 8) }

    mutating func append(_ value: Int) { append(UInt64(bitPattern: Int64(value)), bytes: 8) }

    mutating func append(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

    /// Zeros up to a length.
    mutating func pad(to count: Int) {
        if bytes.count < count { bytes.append(contentsOf: repeatElement(0, count: count - bytes.count)) }
    }
}
