// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    mutating func dup(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try duplicate(arguments.int(0), from: 0, closeOnExec: false)
    }

    mutating func dup2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let (old, new) = (arguments.int(0), arguments.int(1))
        if old == new {
            _ = try files.number(old)
            return .value(UInt64(new))
        }
        return try duplicate(old, as: new, closeOnExec: false)
    }

    mutating func dup3(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = OpenFlags(rawValue: arguments.uint(2))
        guard flags.isSubset(of: .closeOnExec), arguments.int(0) != arguments.int(1) else { throw .einval }
        return try duplicate(arguments.int(0), as: arguments.int(1), closeOnExec: !flags.isEmpty)
    }

    private mutating func duplicate(_ old: Int32, as new: Int32, closeOnExec: Bool) throws(Errno) -> CallEnd {
        guard new >= 0, Int(new) < DescriptorTable.limit else { throw .ebadf }
        try files.duplicate(old, to: new, closeOnExec: closeOnExec)
        return .value(UInt64(new))
    }

    private mutating func duplicate(_ old: Int32, from lowest: Int, closeOnExec: Bool) throws(Errno) -> CallEnd {
        _ = try files.number(old)
        return try duplicate(old, as: try files.table.free(from: lowest), closeOnExec: closeOnExec)
    }

    /// `fcntl`. Locks always succeed: there is one process, and a process's own locks never stand in its way.
    mutating func fcntl(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let (descriptor, command) = (arguments.int(0), arguments.uint(1))
        let number = try files.number(descriptor)
        let file = try files.file(descriptor)
        switch command {
        case 0, 1030:
            guard arguments[2] < DescriptorTable.limit else { throw .einval }
            return try duplicate(descriptor, from: Int(arguments[2]), closeOnExec: command == 1030)
        case 1: return .value(files.table[descriptor]?.isClosedOnExec == true ? 1 : 0)
        case 2:
            files.table[descriptor]?.isClosedOnExec = arguments[2] & 1 != 0
            return .zero
        case 3: return .value(UInt64(file.flags.rawValue))
        default: break
        }
        guard !file.isPath else { throw .ebadf }
        switch command {
        case 4:
            let new = OpenFlags(rawValue: arguments.uint(2)).intersection(.changeable)
            files.open[number]?.flags = file.flags.subtracting(.changeable).union(new)
            return .zero
        case 5, 36:
            // Nobody else holds a lock: l_type becomes F_UNLCK.
            try put(2, bytes: 2, at: arguments[2], memory)
            return .zero
        case 6, 7, 37, 38:
            guard try space.readWord(arguments[2], bytes: 2, memory) <= 2 else { throw .einval }
            return .zero
        case 1031, 1032:
            switch file.kind {
            case .pipeReader, .pipeWriter: return .value(Pipe.capacity)
            default: throw .ebadf
            }
        default: throw .einval
        }
    }

    mutating func lseek(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let number = try files.number(arguments.int(0))
        let file = try files.usableFile(arguments.int(0))
        try demandSeekable(file)
        if case .device = file.kind { return .zero }
        let offset = arguments.long(1)
        let base: Int64
        switch arguments.uint(2) {
        case 0: base = 0
        case 1: base = Int64(file.offset)
        case 2:
            guard case .file(let inode) = file.kind else { throw .einval }
            base = Int64(files.tree.size(inode))
        case 3, 4:
            guard case .file(let inode) = file.kind else { throw .einval }
            let content = files.tree[inode].content
            guard offset >= 0, offset < content.count,
                let found = content.next(hole: arguments.uint(2) == 4, from: Int(offset))
            else { throw .enxio }
            files.open[number]?.offset = found
            return .value(found)
        default: throw .einval
        }
        let (sum, isTooLarge) = base.addingReportingOverflow(offset)
        guard !isTooLarge, sum >= 0 else { throw .einval }
        files.open[number]?.offset = Int(sum)
        return .value(UInt64(sum))
    }

    mutating func pipe(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try makePipe(at: arguments[0], [], memory)
    }

    mutating func pipe2(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = OpenFlags(rawValue: arguments.uint(1))
        guard flags.isSubset(of: [.closeOnExec, .nonBlocking]) else { throw .einval }
        return try makePipe(at: arguments[0], flags, memory)
    }

    private mutating func makePipe(
        at address: UInt64, _ flags: OpenFlags, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let pipe = files.newObject()
        let (closeOnExec, lasting) = (flags.contains(.closeOnExec), flags.intersection(.nonBlocking))
        files.pipes[pipe] = Pipe()
        let reader = try files.add(OpenFile(kind: .pipeReader(pipe), flags: lasting), closeOnExec: closeOnExec)
        let writer: Int32
        do throws(Errno) {
            writer = try files.add(
                OpenFile(kind: .pipeWriter(pipe), flags: lasting.union(.writeOnly)), closeOnExec: closeOnExec)
        } catch {
            try files.close(reader)
            files.pipes[pipe] = nil
            throw error
        }
        do {
            try put(UInt64(reader) | UInt64(writer) << 32, bytes: 8, at: address, memory)
        } catch {
            try files.close(reader)
            try files.close(writer)
            throw error
        }
        return .zero
    }

    mutating func truncate(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.long(1) >= 0 else { throw .einval }
        let number = try inode(ProcessFiles.currentDirectory, try path(arguments[0], memory), follows: true)
        if files.tree.isDirectory(number) { throw .eisdir }
        guard files.tree.attributes(number).type == .regular else { throw .einval }
        try files.tree.demand(.write, number)
        return try resize(number, arguments.long(1))
    }

    mutating func ftruncate(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.long(1) >= 0 else { throw .einval }
        let file = try files.usableFile(arguments.int(0))
        guard case .file(let number) = file.kind, file.flags.canWrite else { throw .einval }
        return try resize(number, arguments.long(1))
    }

    private mutating func resize(_ number: InodeNumber, _ size: Int64) throws(Errno) -> CallEnd {
        guard size <= FileContent.maximumBytes else { throw .efbig }
        try files.tree.resize(number, to: Int(size), time: now)
        return .zero
    }

    /// `fsync`, `fdatasync`, `syncfs`: there is nothing slower to write to.
    mutating func fsync(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let file = try files.usableFile(arguments.int(0))
        guard file.inode != nil else { throw .einval }
        return .zero
    }

    /// No descriptor is a terminal: what asks for one is answered with ENOTTY.
    mutating func ioctl(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let (descriptor, request) = (arguments.int(0), arguments.uint(1))
        let number = try files.number(descriptor)
        let file = try files.usableFile(descriptor)
        switch request {
        case 0x5450, 0x5451: files.table[descriptor]?.isClosedOnExec = request == 0x5451
        case 0x5421:
            let isOn = try word32(arguments[2], memory) != 0
            files.open[number]?.flags.formSymmetricDifference(
                file.flags.contains(.nonBlocking) == isOn ? [] : .nonBlocking)
        case 0x541B: try put(UInt64(try readable(file)), bytes: 4, at: arguments[2], memory)
        default: throw .enotty
        }
        return .zero
    }

    /// What `FIONREAD` says.
    private func readable(_ file: OpenFile) throws(Errno) -> Int {
        switch file.kind {
        case .standardInput: return standardInput.count
        case .pipeReader(let pipe), .pipeWriter(let pipe): return files.pipes[pipe]?.count ?? 0
        case .socket(let end): return files.pipes[end.incoming]?.count ?? 0
        case .file(let number): return min(max(0, files.tree.size(number) - file.offset), Int(Int32.max))
        default: throw .enotty
        }
    }

    mutating func getrandom(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.uint(2) & ~7 == 0, arguments.uint(2) & 6 != 6 else { throw .einval }
        // One piece per call: the guest asks again for the rest, as the manual says it must.
        let bytes = random.bytes(Int(min(arguments[1], UInt64(Self.pieceBytes))))
        try space.write(bytes, at: arguments[0], memory)
        return .value(bytes.count)
    }
}
