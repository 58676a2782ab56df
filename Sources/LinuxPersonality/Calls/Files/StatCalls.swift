// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// What `stat` tells of something that a descriptor or a path leads to.
struct FileStatus: Sendable {
    var inode: UInt64
    var attributes: FileAttributes
    var size: Int
    var rawDevice: UInt64 = 0

    /// The one device that all files are on.
    static let device: UInt64 = 0x20
    static let blockBytes: UInt64 = 4096

    private var owner: UInt32 { attributes.isOwned ? ProcessFiles.user : 0 }
    private var mode: UInt32 { attributes.type.modeBits | UInt32(attributes.mode) }
    private var blocks: Int { attributes.type == .regular ? size / 512 + (size % 512 == 0 ? 0 : 1) : 0 }

    /// `struct stat`: 144 bytes.
    var stat: [UInt8] {
        var record = GuestRecord()
        for value in [Self.device, inode, UInt64(max(0, attributes.links))] { record.append(value) }
        for value in [mode, owner, owner, 0] { record.append(value) }
        for value in [rawDevice, UInt64(size), Self.blockBytes, UInt64(blocks)] { record.append(value) }
        for time in [attributes.accessed, attributes.modified, attributes.changed] {
            record.append(UInt64(bitPattern: time.seconds))
            record.append(UInt64(time.nanoseconds))
        }
        record.pad(to: 144)
        return record.bytes
    }

    /// `struct statx`: 256 bytes, with the basic fields.
    var statx: [UInt8] {
        var record = GuestRecord()
        record.append(UInt32(0x7FF))
        record.append(UInt32(Self.blockBytes))
        record.append(UInt64(0))
        for value in [UInt32(max(0, attributes.links)), owner, owner] { record.append(value) }
        record.append(UInt64(mode), bytes: 4)
        for value in [inode, UInt64(size), UInt64(blocks), 0] { record.append(value) }
        for time in [attributes.accessed, .zero, attributes.changed, attributes.modified] {
            record.append(UInt64(bitPattern: time.seconds))
            record.append(UInt64(time.nanoseconds))
        }
        for value in [UInt32(rawDevice >> 8), UInt32(rawDevice & 0xFF), 0, UInt32(Self.device)] { record.append(value) }
        record.pad(to: 256)
        return record.bytes
    }
}

extension LinuxProcess {
    /// Flags of the calls that end in `at`.
    private static var noFollow: UInt32 { 0x100 }
    private static var emptyPath: UInt32 { 0x1000 }

    func status(_ number: InodeNumber) -> FileStatus {
        let inode = files.tree[number]
        var status = FileStatus(
            inode: number.value, attributes: inode.attributes, size: files.tree.size(number))
        if case .device(let device) = inode.body { status.rawDevice = device.number }
        return status
    }

    /// Streams and the like have no inode in the tree: they look like pipes.
    func status(_ file: OpenFile) -> FileStatus {
        if let number = file.inode { return status(number) }
        let attributes = FileAttributes(.fifo, mode: 0o600, at: .zero)
        switch file.kind {
        case .pipeReader(let object), .pipeWriter(let object), .eventCounter(let object), .timer(let object),
            .epoll(let object):
            return FileStatus(inode: 1 << 60 | object.value, attributes: attributes, size: 0)
        case .socket(let end):
            let attributes = FileAttributes(.socket, mode: 0o777, at: .zero)
            return FileStatus(inode: 1 << 60 | end.incoming.value, attributes: attributes, size: 0)
        default: return FileStatus(inode: 1 << 61, attributes: attributes, size: 0)
        }
    }

    private mutating func status(
        _ directory: Int32, _ path: [UInt8], _ flags: UInt32
    ) throws(Errno) -> FileStatus {
        if path.isEmpty, flags & Self.emptyPath != 0 {
            if directory == ProcessFiles.currentDirectory { return status(files.workingDirectory) }
            return status(try files.file(directory))
        }
        switch try target(directory, path, follows: flags & Self.noFollow == 0) {
        case .inode(let number): return status(number)
        case .descriptor(let descriptor): return status(try files.fileThroughProc(descriptor))
        }
    }

    mutating func stat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let path = try path(arguments[0], memory)
        try space.write(try status(ProcessFiles.currentDirectory, path, 0).stat, at: arguments[1], memory)
        return .zero
    }

    mutating func lstat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let path = try path(arguments[0], memory)
        try space.write(
            try status(ProcessFiles.currentDirectory, path, Self.noFollow).stat, at: arguments[1], memory)
        return .zero
    }

    mutating func fstat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try space.write(status(try files.file(arguments.int(0))).stat, at: arguments[1], memory)
        return .zero
    }

    mutating func newfstatat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = arguments.uint(3)
        guard flags & ~(Self.noFollow | Self.emptyPath | 0x800) == 0 else { throw .einval }
        let path = try path(arguments[1], memory)
        try space.write(try status(arguments.int(0), path, flags).stat, at: arguments[2], memory)
        return .zero
    }

    mutating func statx(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = arguments.uint(2)
        guard flags & ~(Self.noFollow | Self.emptyPath | 0x6800) == 0, flags & 0x6000 != 0x6000,
            arguments.uint(3) & 0x8000_0000 == 0
        else { throw .einval }
        let path = try path(arguments[1], memory)
        try space.write(try status(arguments.int(0), path, flags).statx, at: arguments[4], memory)
        return .zero
    }

    mutating func access(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try access(ProcessFiles.currentDirectory, arguments[0], arguments.uint(1), 0, memory)
    }

    mutating func faccessat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try access(arguments.int(0), arguments[1], arguments.uint(2), 0, memory)
    }

    mutating func faccessat2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try access(arguments.int(0), arguments[1], arguments.uint(2), arguments.uint(3), memory)
    }

    private mutating func access(
        _ directory: Int32, _ address: UInt64, _ mode: UInt32, _ flags: UInt32, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard mode & ~7 == 0, flags & ~(Self.noFollow | Self.emptyPath | 0x200) == 0 else { throw .einval }
        let path = try path(address, memory)
        let found = try status(directory, path, flags)
        let attributes = found.attributes
        let bits = attributes.isOwned ? attributes.mode >> 6 : attributes.mode
        guard UInt16(mode) & ~(bits & 7) == 0 else { throw .eacces }
        return .zero
    }

    mutating func readlink(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try readlink(ProcessFiles.currentDirectory, arguments[0], arguments[1], arguments.int(2), memory)
    }

    mutating func readlinkat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try readlink(arguments.int(0), arguments[1], arguments[2], arguments.int(3), memory)
    }

    private mutating func readlink(
        _ directory: Int32, _ address: UInt64, _ buffer: UInt64, _ count: Int32, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard count > 0 else { throw .einval }
        let path = try path(address, memory)
        let text: [UInt8]
        switch try target(directory, path, follows: false) {
        case .descriptor(let descriptor): text = place(of: try files.fileThroughProc(descriptor))
        case .inode(let number):
            switch files.tree[number].body {
            case .symbolicLink(let target): text = target
            case .place(let directory): text = files.tree.path(of: directory) ?? Array("(deleted)".utf8)
            default: throw .einval
            }
        }
        let part = text.prefix(Int(count))
        try space.write(part, at: buffer, memory)
        return .value(part.count)
    }

    /// What a link in `/proc/self/fd` says.
    private func place(of file: OpenFile) -> [UInt8] {
        if let path = files.path(of: file) { return path }
        let kind =
            switch file.kind {
            case .eventCounter: "anon_inode:[eventfd]"
            case .timer: "anon_inode:[timerfd]"
            case .epoll: "anon_inode:[eventpoll]"
            case .socket: "socket:[\(status(file).inode)]"
            case .file: "/memfd: (deleted)"
            default: "pipe:[\(status(file).inode)]"
            }
        return Array(kind.utf8)
    }
}
