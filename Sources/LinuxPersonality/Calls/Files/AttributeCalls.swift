// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Owners, space and locks of files.
extension LinuxProcess {
    private static var here: Int32 { ProcessFiles.currentDirectory }

    mutating func chown(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try own(
            try inode(Self.here, try path(arguments[0], memory), follows: true), arguments.uint(1), arguments.uint(2))
    }

    mutating func lchown(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try own(
            try inode(Self.here, try path(arguments[0], memory), follows: false), arguments.uint(1), arguments.uint(2))
    }

    mutating func fchown(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard let number = try files.usableFile(arguments.int(0)).inode else { throw .eperm }
        return try own(number, arguments.uint(1), arguments.uint(2))
    }

    mutating func fchownat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = arguments.uint(4)
        guard flags & ~0x1100 == 0 else { throw .einval }
        let path = try path(arguments[1], memory)
        if path.isEmpty, flags & 0x1000 != 0 {
            guard let number = try files.file(arguments.int(0)).inode else { throw .eperm }
            return try own(number, arguments.uint(2), arguments.uint(3))
        }
        let number = try inode(arguments.int(0), path, follows: flags & 0x100 == 0)
        return try own(number, arguments.uint(2), arguments.uint(3))
    }

    /// A file stays its owner's: only what says so already is taken.
    private func own(_ number: InodeNumber, _ user: UInt32, _ group: UInt32) throws(Errno) -> CallEnd {
        let owner = files.tree.attributes(number).isOwned ? ProcessFiles.user : 0
        guard user == owner || user == .max, group == owner || group == .max else { throw .eperm }
        return .zero
    }

    mutating func statfs(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        _ = try inode(Self.here, try path(arguments[0], memory), follows: true)
        return try putFileSystem(at: arguments[1], memory)
    }

    mutating func fstatfs(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        _ = try files.file(arguments.int(0))
        return try putFileSystem(at: arguments[1], memory)
    }

    /// `struct statfs`, 120 bytes: the scratch, as a `tmpfs`.
    private mutating func putFileSystem(at address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let tree = files.tree
        let (all, free) = (tree.limits.bytes / 4096, max(0, tree.limits.bytes - tree.usedBytes) / 4096)
        let inodes = max(0, tree.limits.inodes - tree.usedInodes)
        var record = GuestRecord()
        for value in [0x0102_1994, 4096, all, free, free, tree.limits.inodes, inodes, 0, FileName.maximumBytes, 4096] {
            record.append(value)
        }
        record.pad(to: 120)
        try space.write(record.bytes, at: address, memory)
        return .zero
    }

    /// There is one process: no other holds a lock.
    mutating func flock(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        _ = try files.usableFile(arguments.int(0))
        guard [1, 2, 8].contains(arguments.uint(1) & ~4) else { throw .einval }
        return .zero
    }

    /// `fallocate` with mode 0: the file grows; other modes give EOPNOTSUPP.
    mutating func fallocate(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let file = try files.usableFile(arguments.int(0))
        guard arguments.long(2) >= 0, arguments.long(3) > 0 else { throw .einval }
        guard arguments.int(1) == 0 else { throw .eopnotsupp }
        guard file.flags.canWrite else { throw .ebadf }
        guard case .file(let number) = file.kind else { throw .enodev }
        let (end, isTooLarge) = arguments.long(2).addingReportingOverflow(arguments.long(3))
        guard !isTooLarge, end <= Int64(FileContent.maximumBytes) else { throw .efbig }
        guard end <= Int64(files.tree.limits.bytes) else { throw .enospc }
        if Int(end) > files.tree.size(number) { try files.tree.resize(number, to: Int(end), time: now) }
        return .zero
    }

    /// `memfd_create`: a file without a name.
    mutating func memfdCreate(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.uint(1) & ~0x1F == 0, arguments.uint(1) & 4 == 0 else { throw .einval }
        let name = try path(arguments[0], memory)
        guard name.count < 250 else { throw .einval }
        _ = try files.table.free()
        let attributes = FileAttributes(.regular, mode: 0o777, links: 0, at: now)
        let number = try files.tree.make(Inode(attributes: attributes, body: .regular))
        let file = OpenFile(kind: .file(number), flags: [.readWrite, .largeFile])
        return .value(UInt64(try files.add(file, closeOnExec: arguments.uint(1) & 1 != 0)))
    }
}
