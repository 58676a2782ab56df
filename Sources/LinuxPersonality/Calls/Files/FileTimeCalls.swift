// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// When files were used: four ways to set it.
extension LinuxProcess {
    /// What a file's times become; nil for one that stays.
    private typealias FileTimes = (accessed: FileTime?, modified: FileTime?)

    /// With UTIME_NOW and UTIME_OMIT.
    mutating func utimensat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.uint(3) & ~0x1100 == 0 else { throw .einval }
        var times: FileTimes = (now, now)
        if arguments[2] != 0 {
            times = (try precise(arguments[2], memory), try precise(arguments[2] &+ 16, memory))
        }
        let follows = arguments.uint(3) & 0x100 == 0
        return try setTimes(times, arguments.int(0), arguments[1], follows: follows, memory)
    }

    /// Microseconds, below a directory.
    mutating func futimesat(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let times = try microseconds(arguments[2], memory)
        return try setTimes(times, arguments.int(0), arguments[1], follows: true, memory)
    }

    /// Microseconds.
    mutating func utimes(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let times = try microseconds(arguments[1], memory)
        return try setTimes(times, ProcessFiles.currentDirectory, arguments[0], follows: true, memory)
    }

    /// Seconds.
    mutating func utime(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        var times: FileTimes = (now, now)
        if arguments[1] != 0 {
            times = (try seconds(arguments[1], memory), try seconds(arguments[1] &+ 8, memory))
        }
        return try setTimes(times, ProcessFiles.currentDirectory, arguments[0], follows: true, memory)
    }

    // MARK: What the guest says

    private mutating func seconds(_ address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> FileTime {
        FileTime(seconds: Int64(bitPattern: try word64(address, memory)), nanoseconds: 0)
    }

    private mutating func precise(_ address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> FileTime? {
        var time = try seconds(address, memory)
        switch try word64(address &+ 8, memory) {
        case 0x3FFF_FFFF: return now
        case 0x3FFF_FFFE: return nil
        case let part where part < Self.billion: time.nanoseconds = UInt32(part)
        default: throw .einval
        }
        return time
    }

    private mutating func microseconds(
        _ address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> FileTimes {
        guard address != 0 else { return (now, now) }
        var times: [FileTime] = []
        for place in [address, address &+ 16] {
            var time = try seconds(place, memory)
            let part = try word64(place &+ 8, memory)
            guard part < 1_000_000 else { throw .einval }
            time.nanoseconds = UInt32(part) * 1000
            times.append(time)
        }
        return (times[0], times[1])
    }

    // MARK: Setting

    /// - Parameter address: the path's; 0 for what the descriptor itself refers to.
    private mutating func setTimes(
        _ times: FileTimes, _ directory: Int32, _ address: UInt64, follows: Bool, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let number: InodeNumber
        if address == 0 {
            guard directory != ProcessFiles.currentDirectory else { throw .efault }
            guard let opened = try files.file(directory).inode else { throw .eacces }
            number = opened
        } else {
            number = try inode(directory, try path(address, memory), follows: follows)
        }
        guard files.tree.attributes(number).isOwned else { throw .eperm }
        let time = now
        try files.tree.change(number) { inode in
            if let accessed = times.accessed { inode.attributes.accessed = accessed }
            if let modified = times.modified { inode.attributes.modified = modified }
            inode.attributes.changed = time
        }
        return .zero
    }
}
