// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Who the process is, and where it runs. There is one process, whose number is 1; its user and group are those of all files.
extension LinuxProcess {
    /// `getpid` and `gettid` of the first thread.
    static var number: UInt64 { 1 }

    /// `uname`: a Linux of which nothing is the host's.
    mutating func uname(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        var record = GuestRecord()
        let names = [
            GuestSystem.name, GuestSystem.host, GuestSystem.release, GuestSystem.version, GuestSystem.architecture,
            GuestSystem.domain,
        ]
        for (index, text) in names.enumerated() {
            record.append(text.utf8)
            record.pad(to: (index + 1) * 65)
        }
        try space.write(record.bytes, at: arguments[0], memory)
        return .zero
    }

    /// `getresuid`, `getresgid`.
    mutating func putUser(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        for index in 0..<3 { try put(UInt64(ProcessFiles.user), bytes: 4, at: arguments[index], memory) }
        return .zero
    }

    /// `setuid` and its kin: the process can be who it is.
    func becomeUser(_ arguments: CallArguments, count: Int) throws(Errno) -> CallEnd {
        for index in 0..<count {
            // -1 leaves as it is, where there is more than one.
            let isSame = arguments.uint(index) == ProcessFiles.user || (count > 1 && arguments.uint(index) == .max)
            guard isSame else { throw .eperm }
        }
        return .zero
    }

    /// `getpgid`, `getsid`.
    func group(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        guard arguments.int(0) == 0 || UInt64(arguments.uint(0)) == Self.number else { throw .esrch }
        return .value(Self.number)
    }

    /// `setpgid`: it leads the one group there is.
    func setpgid(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        guard arguments.int(1) >= 0 else { throw .einval }
        guard [0, Self.number].contains(UInt64(arguments.uint(0))) else { throw .esrch }
        guard [0, Self.number].contains(UInt64(arguments.uint(1))) else { throw .eperm }
        return .zero
    }

    /// `capget`: none. Of a version that is not known the newest one is told.
    mutating func capget(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let version = try word32(arguments[0], memory)
        guard [0x1998_0330, 0x2007_1026, 0x2008_0522].contains(version) else {
            try put(0x2008_0522, bytes: 4, at: arguments[0], memory)
            guard arguments[1] == 0 else { throw .einval }
            return .zero
        }
        let thread = try word32(arguments[0] &+ 4, memory)
        guard thread == 0 || threads.index(of: thread) != nil else { throw .esrch }
        guard arguments[1] != 0 else { return .zero }
        try space.write([UInt8](repeating: 0, count: version == 0x1998_0330 ? 12 : 24), at: arguments[1], memory)
        return .zero
    }

    /// `personality`: that of Linux; its flags mean nothing here.
    func personality(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        guard arguments.uint(0) == .max || arguments.uint(0) & 0xFF == 0 else { throw .einval }
        return .zero
    }

    /// `getcpu`: the first processor of the first node.
    mutating func getcpu(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        for index in 0..<2 where arguments[index] != 0 { try put(0, bytes: 4, at: arguments[index], memory) }
        return .zero
    }

    /// `sysinfo`.
    mutating func sysinfo(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        var record = GuestRecord()
        record.append(moment.monotonic / Self.billion)
        for _ in 0..<3 { record.append(0 as UInt64) }
        record.append(UInt64(space.frames.total) * GuestMemory.pageBytes)
        record.append(UInt64(space.frames.free) * GuestMemory.pageBytes)
        record.pad(to: 80)
        record.append(1, bytes: 2)
        record.pad(to: 104)
        record.append(1 as UInt32)
        record.pad(to: 112)
        try space.write(record.bytes, at: arguments[0], memory)
        return .zero
    }

    // MARK: The table

    mutating func performOnIdentity(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .getpid, .getpgrp: .value(Self.number)
        case .getppid: .zero
        case .getuid, .geteuid, .getgid, .getegid: .value(UInt64(ProcessFiles.user))
        case .getresuid, .getresgid: try putUser(arguments, memory)
        case .setuid, .setgid: try becomeUser(arguments, count: 1)
        case .setreuid, .setregid: try becomeUser(arguments, count: 2)
        case .setresuid, .setresgid: try becomeUser(arguments, count: 3)
        case .getpgid, .getsid: try group(arguments)
        case .getgroups: .zero
        case .uname: try uname(arguments, memory)
        case .setfsuid, .setfsgid: .value(UInt64(ProcessFiles.user))
        case .setpgid: try setpgid(arguments)
        case .setsid: throw .eperm
        case .capget: try capget(arguments, memory)
        case .personality: try personality(arguments)
        case .getcpu: try getcpu(arguments, memory)
        case .sysinfo: try sysinfo(arguments, memory)
        default: nil
        }
    }
}

/// What is supported of the calls about the process itself.
enum IdentityCallRows {
    static let rows: [CallRow] = [
        CallRow(
            calls: [.getpid, .getpgrp, .getppid, .getpgid, .getsid],
            supported: "one process, number 1, without a parent", refused: "others ESRCH"),
        CallRow(
            calls: [.getuid, .geteuid, .getgid, .getegid, .getresuid, .getresgid, .getgroups],
            supported: "user and group 1000, no further groups"),
        CallRow(
            calls: [.setuid, .setgid, .setreuid, .setregid, .setresuid, .setresgid], supported: "to what it is",
            refused: "others EPERM"),
        CallRow(calls: [.setfsuid, .setfsgid], supported: "answered with what it is"),
        CallRow(
            calls: [.setpgid, .setsid], supported: "setpgid to what it is",
            refused: "setsid EPERM, as for who leads a group; other processes ESRCH"),
        CallRow(calls: [.capget], supported: "no capabilities", refused: "unknown versions EINVAL"),
        CallRow(calls: [.personality], supported: "that of Linux, with any flags", refused: "others EINVAL"),
        CallRow(calls: [.uname, .sysinfo, .getcpu], supported: "one processor, the job's memory"),
        CallRow(
            calls: [.schedGetaffinity, .schedSetaffinity], supported: "one processor",
            refused: "masks without it EINVAL"),
        CallRow(
            calls: [
                .schedGetscheduler, .schedSetscheduler, .schedGetparam, .schedSetparam, .schedGetPriorityMax,
                .schedGetPriorityMin, .schedRrGetInterval, .schedGetattr, .schedSetattr,
            ], supported: "SCHED_OTHER, and SCHED_BATCH and SCHED_IDLE, which are the same",
            refused: "real-time policies EPERM; other threads ESRCH"),
        CallRow(
            calls: [.getpriority, .setpriority, .ioprioGet, .ioprioSet], supported: "a niceness that changes nothing",
            refused: "a better one than before EACCES; others ESRCH"),
    ]
}
