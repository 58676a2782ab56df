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
        return .zero
    }

    mutating func getcwd(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard let path = files.tree.path(of: files.workingDirectory) else { throw .enoent }
        guard path.count < PathEnd.maximumBytes else { throw .enametoolong }
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

    /// `getdents64`: records of 19 bytes and the name with its NUL, each a multiple of 8.
    mutating func getdents64(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let number = try files.number(arguments.int(0))
        let file = try files.usableFile(arguments.int(0))
        guard case .directory(let directory) = file.kind else { throw .enotdir }
        guard files.tree.attributes(directory).links > 0 else { throw .enoent }
        let listing = file.offset == 0 ? nil : file.listing
        let names = listing ?? self.names(in: directory)
        var (record, next) = (GuestRecord(), file.offset)
        let limit = Int(min(arguments.uint(2), 1 << 16))
        while next < names.count + 2 {
            guard let entry = entry(next, of: directory, names) else {
                next += 1
                continue
            }
            let length = (19 + entry.name.count + 1 + 7) / 8 * 8
            guard record.bytes.count + length <= limit else {
                if record.bytes.isEmpty { throw .einval }
                break
            }
            let end = record.bytes.count + length
            next += 1
            record.append(entry.inode)
            record.append(next)
            record.append(UInt64(length), bytes: 2)
            record.append(UInt64(entry.type.rawValue), bytes: 1)
            record.append(entry.name)
            record.pad(to: end)
        }
        try space.write(record.bytes, at: arguments[1], memory)
        files.open[number]?.listing = names
        files.open[number]?.offset = next
        return .value(record.bytes.count)
    }

    private func names(in directory: InodeNumber) -> [FileName] {
        if case .descriptors = files.tree[directory].body { return files.table.numbers.map { FileName("\($0)") } }
        return files.tree.names(in: directory)
    }

    /// An entry by its place: the dots first; nil for one that was removed since the listing was made.
    private mutating func entry(
        _ place: Int, of directory: InodeNumber, _ names: [FileName]
    ) -> (inode: UInt64, type: FileType, name: [UInt8])? {
        switch place {
        case 0: return (directory.value, .directory, [46])
        case 1: return (files.tree.parent(of: directory).value, .directory, [46, 46])
        default:
            let name = names[place - 2]
            if case .descriptors = files.tree[directory].body { return (directory.value, .symbolicLink, name.bytes) }
            guard let child = files.tree.child(name, of: directory) else { return nil }
            return (child.value, files.tree.attributes(child).type, name.bytes)
        }
    }
}
