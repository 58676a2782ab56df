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
        for (index, text) in ["Linux", "kvmjob", "6.1.0", "#1 SMP kvmjob", "x86_64", "(none)"].enumerated() {
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

    /// `sched_getaffinity`: one processor.
    mutating func schedGetaffinity(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments.uint(1) >= 8, arguments.uint(1) % 8 == 0 else { throw .einval }
        try put(1, bytes: 8, at: arguments[2], memory)
        return .value(8 as UInt64)
    }

    /// `sysinfo`.
    mutating func sysinfo(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        var record = GuestRecord()
        record.append(moment.monotonic / 1_000_000_000)
        for _ in 0..<3 { record.append(0 as UInt64) }
        record.append(memory.bytes)
        record.append(UInt64(max(0, space.frames.available)) * GuestMemory.pageBytes)
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
        case .schedGetaffinity: try schedGetaffinity(arguments, memory)
        case .sysinfo: try sysinfo(arguments, memory)
        default: nil
        }
    }

    mutating func performOnTime(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .clockGettime: try clockGettime(arguments, memory)
        case .clockGetres: try clockGetres(arguments, memory)
        case .gettimeofday: try gettimeofday(arguments, memory)
        case .time: try time(arguments, memory)
        case .nanosleep: try nanosleep(arguments, memory)
        case .clockNanosleep: try clockNanosleep(arguments, memory)
        default: nil
        }
    }
}

/// What is supported of the calls about the process itself and about time.
enum IdentityCallRows {
    static let rows: [CallRow] = [
        CallRow(
            calls: [.getpid, .getpgrp, .getppid, .getpgid, .getsid],
            supported: "one process, number 1, without a parent", refused: "others ESRCH"),
        CallRow(
            calls: [.getuid, .geteuid, .getgid, .getegid, .getresuid, .getresgid, .getgroups],
            supported: "user and group 1000, no further groups", refused: ""),
        CallRow(
            calls: [.setuid, .setgid, .setreuid, .setregid, .setresuid, .setresgid], supported: "to what it is",
            refused: "others EPERM"),
        CallRow(
            calls: [.uname, .sysinfo, .schedGetaffinity], supported: "one processor, the job's memory", refused: ""),
        CallRow(
            calls: [.clockGettime, .clockGetres, .gettimeofday, .time],
            supported: "eight clocks; processor time is the time that has passed", refused: "other clocks EINVAL"),
        CallRow(
            calls: [.nanosleep, .clockNanosleep], supported: "relative and absolute",
            refused: "clocks that cannot wake EOPNOTSUPP"),
    ]
}
