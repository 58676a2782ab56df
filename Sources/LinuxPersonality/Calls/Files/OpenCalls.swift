// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    mutating func open(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let path = try path(arguments[0], memory)
        return try open(
            path, ProcessFiles.currentDirectory, OpenFlags(rawValue: arguments.uint(1)), arguments.uint(2))
    }

    mutating func openat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let path = try path(arguments[1], memory)
        return try open(path, arguments.int(0), OpenFlags(rawValue: arguments.uint(2)), arguments.uint(3))
    }

    mutating func creat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let path = try path(arguments[0], memory)
        return try open(path, ProcessFiles.currentDirectory, [.writeOnly, .create, .truncate], arguments.uint(1))
    }

    /// `openat2`: `struct open_how` of 24 bytes, behind which only zeros may come. Of the ways to resolve a path there is the usual
    /// one, for which RESOLVE_NO_XDEV asks too: there is one file system.
    mutating func openat2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments[3] >= 24 else { throw .einval }
        guard arguments[3] <= GuestMemory.pageBytes else { throw .e2big }
        let how = GuestRecord(try space.read(arguments[2], count: Int(arguments[3]), memory))
        guard how.bytes.dropFirst(24).allSatisfy({ $0 == 0 }) else { throw .e2big }
        let (flags, mode) = (how.number(at: 0, bytes: 8), how.number(at: 8, bytes: 8))
        let resolution = how.number(at: 16, bytes: 8)
        guard flags <= UInt32.max, mode & ~0o7777 == 0, resolution & ~0x3F == 0 else { throw .einval }
        guard resolution & ~1 == 0 else { throw .enosys }
        let asked = OpenFlags(rawValue: UInt32(flags))
        guard mode == 0 || asked.contains(.create) || asked.contains(.temporaryOnly) else { throw .einval }
        return try open(try path(arguments[1], memory), arguments.int(0), asked, UInt32(mode))
    }

    private mutating func open(
        _ path: [UInt8], _ directory: Int32, _ asked: OpenFlags, _ mode: UInt32
    ) throws(Errno) -> CallEnd {
        var flags = asked
        if flags.contains(.path) {
            flags.formIntersection([.path, .directory, .noFollow, .closeOnExec])
        } else if flags.contains(.temporaryOnly) {
            guard flags.contains(.directory), flags.canWrite else { throw .einval }
            return try openNameless(path, directory, flags, mode)
        } else if flags.contains([.create, .directory]) {
            throw .einval
        }
        _ = try files.table.free()
        let excludes = flags.contains([.create, .exclusive])
        // What is to be made must not have a slash behind it, whatever is there.
        let end = try lookup(
            directory, path, follows: !flags.contains(.noFollow) && !excludes,
            followsBeforeSlash: !flags.contains(.create))
        if flags.contains(.create), case .name = end.last, end.wantsDirectory { throw .eisdir }
        guard let target = end.target else { return try openNew(end, flags, mode) }
        if excludes { throw .eexist }
        switch target {
        case .descriptor(let descriptor): return try reopen(descriptor, flags)
        case .inode(let number):
            let isDirectory = files.tree.isDirectory(number)
            if flags.contains(.create), isDirectory { throw .eisdir }
            if flags.contains(.directory) || end.wantsDirectory, !isDirectory { throw .enotdir }
            let place = end.name.map { OpenFile.Place(parent: end.parent, name: $0) }
            return .value(UInt64(try add(number, flags, place)))
        }
    }

    /// A file without a name, of which the directory only says that it may be there: `O_TMPFILE`.
    private mutating func openNameless(
        _ path: [UInt8], _ directory: Int32, _ flags: OpenFlags, _ mode: UInt32
    ) throws(Errno) -> CallEnd {
        _ = try files.table.free()
        let number = try inode(directory, path, follows: !flags.contains(.noFollow))
        guard files.tree.isDirectory(number) else { throw .enotdir }
        try files.tree.demandAlive(number)
        try files.tree.demand([.write, .execute], number)
        let bits = UInt16(truncatingIfNeeded: mode) & 0o7777 & ~files.mask
        let attributes = FileAttributes(.regular, mode: bits, links: 0, at: now)
        let file = try files.tree.make(Inode(attributes: attributes, body: .regular))
        return .value(UInt64(try describe(file, .file(file), flags.subtracting(.directory), nil)))
    }

    private mutating func openNew(_ end: PathEnd, _ flags: OpenFlags, _ mode: UInt32) throws(Errno) -> CallEnd {
        guard flags.contains(.create) else { throw .enoent }
        let name = try files.tree.vacancy(end)
        let bits = UInt16(truncatingIfNeeded: mode) & 0o7777 & ~files.mask
        let inode = Inode(attributes: FileAttributes(.regular, mode: bits, at: now), body: .regular)
        let number = try files.tree.create(inode, name, in: end.parent, at: now)
        let place = OpenFile.Place(parent: end.parent, name: name)
        return .value(UInt64(try describe(number, .file(number), flags, place)))
    }

    /// Opens what is there, if its mode lets the guest.
    private mutating func add(
        _ number: InodeNumber, _ flags: OpenFlags, _ place: OpenFile.Place?
    ) throws(Errno) -> Int32 {
        if flags.contains(.path) { return try describe(number, .path(number), flags, place) }
        let inode = files.tree[number]
        if inode.attributes.type == .symbolicLink { throw .eloop }
        var access = flags.asked
        if flags.contains(.truncate) { access.insert(.write) }
        if inode.attributes.type == .directory, access.contains(.write) { throw .eisdir }
        try files.tree.demand(access, number)
        switch inode.body {
        case .directory, .descriptors: return try describe(number, .directory(number), flags, place)
        case .device(let device):
            if device == .ready { hasSaidReady = true }
            return try describe(number, .device(device, number), flags, place)
        case .report(let report): return try describe(number, .report(report, number), flags, place)
        default:
            if flags.contains(.truncate) { try files.tree.resize(number, to: 0, time: now) }
            return try describe(number, .file(number), flags, place)
        }
    }

    private mutating func describe(
        _ number: InodeNumber, _ kind: OpenFile.Kind, _ flags: OpenFlags, _ place: OpenFile.Place?
    ) throws(Errno) -> Int32 {
        var lasting = flags.subtracting(.momentary)
        if !flags.contains(.path) { lasting.insert(.largeFile) }
        let file = OpenFile(kind: kind, flags: lasting, place: place)
        return try files.add(file, closeOnExec: flags.contains(.closeOnExec))
    }

    /// Opens what a descriptor refers to once more, by way of `/proc/self/fd`.
    private mutating func reopen(_ descriptor: Int32, _ flags: OpenFlags) throws(Errno) -> CallEnd {
        let file = try files.fileThroughProc(descriptor)
        if flags.contains(.noFollow), !flags.contains(.path) { throw .eloop }
        if let number = file.inode {
            if flags.contains(.directory), !files.tree.isDirectory(number) { throw .enotdir }
            return .value(UInt64(try add(number, flags, file.place)))
        }
        if flags.contains(.directory) { throw .enotdir }
        var kind = file.kind
        switch kind {
        case .eventCounter, .timer, .epoll, .socket: throw .enxio
        case .pipeReader(let pipe), .pipeWriter(let pipe):
            guard flags.rawValue & 3 < 2 else { throw .eacces }
            kind = flags.canWrite ? .pipeWriter(pipe) : .pipeReader(pipe)
        case .standardInput: if flags.canWrite { throw .eacces }
        case .output: if flags.canRead, !flags.canWrite { throw .eacces }
        default: break
        }
        let lasting = flags.subtracting(.momentary).union(.largeFile)
        let new = try files.add(OpenFile(kind: kind, flags: lasting), closeOnExec: flags.contains(.closeOnExec))
        switch kind {
        case .pipeReader(let pipe): files.pipes[pipe]?.readers += 1
        case .pipeWriter(let pipe): files.pipes[pipe]?.writers += 1
        default: break
        }
        return .value(UInt64(new))
    }

    mutating func close(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try files.close(arguments.int(0))
        return .zero
    }

    /// `close_range`, with `CLOSE_RANGE_CLOEXEC`; there is one table, so `CLOSE_RANGE_UNSHARE` asks for nothing.
    mutating func closeRange(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let (first, last, flags) = (arguments.uint(0), arguments.uint(1), arguments.uint(2))
        guard first <= last, flags & ~6 == 0 else { throw .einval }
        for number in files.table.numbers where UInt32(number) >= first && UInt32(number) <= last {
            if flags & 4 != 0 {
                files.table[number]?.isClosedOnExec = true
            } else {
                try files.close(number)
            }
        }
        return .zero
    }
}
