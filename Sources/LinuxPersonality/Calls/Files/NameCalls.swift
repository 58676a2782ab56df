// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Calls that make, move and remove names, and what belongs to directories.
extension LinuxProcess {
    private static var here: Int32 { ProcessFiles.currentDirectory }

    mutating func unlink(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try remove(Self.here, try path(arguments[0], memory), directory: false)
    }

    mutating func rmdir(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try remove(Self.here, try path(arguments[0], memory), directory: true)
    }

    mutating func unlinkat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.uint(2) & ~0x200 == 0 else { throw .einval }
        return try remove(arguments.int(0), try path(arguments[1], memory), directory: arguments.uint(2) != 0)
    }

    private mutating func remove(_ start: Int32, _ path: [UInt8], directory: Bool) throws(Errno) -> CallEnd {
        let end = try parent(start, path)
        if directory {
            try files.tree.removeDirectory(end, at: now)
        } else {
            try files.tree.unlink(end, at: now)
        }
        return .zero
    }

    /// The place of a name that is itself what the call is about: a link there is not followed, whatever comes behind it.
    private mutating func parent(_ start: Int32, _ path: [UInt8]) throws(Errno) -> PathEnd {
        guard !path.isEmpty else { throw .enoent }
        return try files.tree.find(path, from: try files.start(start, path), follows: false, followsBeforeSlash: false)
    }

    mutating func mkdir(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try makeDirectory(Self.here, try path(arguments[0], memory), arguments.uint(1))
    }

    mutating func mkdirat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try makeDirectory(arguments.int(0), try path(arguments[1], memory), arguments.uint(2))
    }

    private mutating func makeDirectory(_ start: Int32, _ path: [UInt8], _ mode: UInt32) throws(Errno) -> CallEnd {
        let end = try parent(start, path)
        let name = try files.tree.vacancy(end, forDirectory: true)
        let bits = UInt16(truncatingIfNeeded: mode) & 0o1777 & ~files.mask
        let inode = Inode(attributes: FileAttributes(.directory, mode: bits, links: 2, at: now), body: .directory)
        _ = try files.tree.create(inode, name, in: end.parent, at: now)
        return .zero
    }

    /// `mknod`: a regular file; the guest may make no device, and there are no pipes with names.
    mutating func mknod(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try makeNode(Self.here, arguments[0], arguments.uint(1), memory)
    }

    /// `mknodat`, likewise.
    mutating func mknodat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try makeNode(arguments.int(0), arguments[1], arguments.uint(2), memory)
    }

    private mutating func makeNode(
        _ start: Int32, _ address: UInt64, _ mode: UInt32, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let path = try path(address, memory)
        switch mode >> 12 & 0xF {
        case 0, 8: break
        case 1, 2, 6, 12: throw .eperm
        default: throw .einval
        }
        let end = try parent(start, path)
        let name = try files.tree.vacancy(end)
        let bits = UInt16(truncatingIfNeeded: mode) & 0o7777 & ~files.mask
        let inode = Inode(attributes: FileAttributes(.regular, mode: bits, at: now), body: .regular)
        _ = try files.tree.create(inode, name, in: end.parent, at: now)
        return .zero
    }

    mutating func rename(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try rename((Self.here, arguments[0]), (Self.here, arguments[1]), 0, memory)
    }

    mutating func renameat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try rename((arguments.int(0), arguments[1]), (arguments.int(2), arguments[3]), 0, memory)
    }

    mutating func renameat2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try rename((arguments.int(0), arguments[1]), (arguments.int(2), arguments[3]), arguments.uint(4), memory)
    }

    private mutating func rename(
        _ old: (Int32, UInt64), _ new: (Int32, UInt64), _ flags: UInt32, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard flags & ~3 == 0, flags != 3 else { throw .einval }
        let (oldPath, newPath) = (try path(old.1, memory), try path(new.1, memory))
        let from = try parent(old.0, oldPath)
        let to = try parent(new.0, newPath)
        try files.tree.rename(from, to: to, OverlayTree.Renaming(rawValue: flags), at: now)
        return .zero
    }

    mutating func link(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try link((Self.here, arguments[0]), (Self.here, arguments[1]), 0, memory)
    }

    mutating func linkat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = arguments.uint(4)
        // AT_EMPTY_PATH wants a capability that the guest has not.
        guard flags & ~0x1400 == 0 else { throw .einval }
        guard flags & 0x1000 == 0 else { throw .enoent }
        return try link((arguments.int(0), arguments[1]), (arguments.int(2), arguments[3]), flags, memory)
    }

    private mutating func link(
        _ old: (Int32, UInt64), _ new: (Int32, UInt64), _ flags: UInt32, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let (oldPath, newPath) = (try path(old.1, memory), try path(new.1, memory))
        let number = try inode(old.0, oldPath, follows: flags & 0x400 != 0)
        try files.tree.link(number, to: try parent(new.0, newPath), at: now, revives: false)
        return .zero
    }

    mutating func symlink(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try makeLink(arguments[0], Self.here, arguments[1], memory)
    }

    mutating func symlinkat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try makeLink(arguments[0], arguments.int(1), arguments[2], memory)
    }

    private mutating func makeLink(
        _ address: UInt64, _ start: Int32, _ name: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let target = try path(address, memory)
        let path = try path(name, memory)
        guard !target.isEmpty else { throw .enoent }
        let end = try parent(start, path)
        let vacant = try files.tree.vacancy(end)
        let attributes = FileAttributes(.symbolicLink, mode: 0o777, at: now)
        let inode = Inode(attributes: attributes, body: .symbolicLink(target))
        _ = try files.tree.create(inode, vacant, in: end.parent, bytes: target.count, at: now)
        return .zero
    }

    mutating func chdir(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try enter(try inode(Self.here, try path(arguments[0], memory), follows: true))
    }

    mutating func fchdir(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard let number = try files.file(arguments.int(0)).inode else { throw .enotdir }
        return try enter(number)
    }

    private mutating func enter(_ number: InodeNumber) throws(Errno) -> CallEnd {
        guard files.tree.isDirectory(number) else { throw .enotdir }
        try files.tree.demand(.execute, number)
        files.tree.retain(number)
        files.tree.release(files.workingDirectory)
        files.workingDirectory = number
        files.tree.setWorkingDirectory(number)
        return .zero
    }

    mutating func getcwd(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard let path = files.tree.path(of: files.workingDirectory) else {
            throw files.tree.attributes(files.workingDirectory).links > 0 ? .enametoolong : .enoent
        }
        guard UInt64(path.count + 1) <= arguments[1] else { throw .erange }
        try space.write(path + [0], at: arguments[0], memory)
        return .value(path.count + 1)
    }

    mutating func umask(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        defer { files.mask = UInt16(truncatingIfNeeded: arguments[0]) & 0o777 }
        return .value(Int(files.mask))
    }

    mutating func chmod(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try setMode(try inode(Self.here, try path(arguments[0], memory), follows: true), arguments.uint(1))
    }

    mutating func fchmodat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try setMode(try inode(arguments.int(0), try path(arguments[1], memory), follows: true), arguments.uint(2))
    }

    mutating func fchmod(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard let number = try files.usableFile(arguments.int(0)).inode else { throw .eperm }
        return try setMode(number, arguments.uint(1))
    }

    private mutating func setMode(_ number: InodeNumber, _ mode: UInt32) throws(Errno) -> CallEnd {
        guard files.tree.attributes(number).isOwned else { throw .eperm }
        let time = now
        try files.tree.change(number) { inode in
            inode.attributes.mode = UInt16(truncatingIfNeeded: mode) & 0o7777
            inode.attributes.changed = time
        }
        return .zero
    }
}
