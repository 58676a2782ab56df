// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// What the process asks and says about itself: limits, times, names.
extension LinuxProcess {
    // MARK: Limits

    /// `prlimit64`
    mutating func prlimit64(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard arguments.int(0) == 0 || UInt64(arguments.uint(0)) == Self.number else { throw .esrch }
        return try exchangeLimit(arguments.uint(1), new: arguments[2], old: arguments[3], memory)
    }

    /// - Parameters:
    ///   - new: the address of what is set; 0 for nothing.
    ///   - old: the address where what was set before is put; 0 for nowhere.
    private mutating func exchangeLimit(
        _ number: UInt32, new: UInt64, old: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard let resource = Resource(rawValue: number) else { throw .einval }
        let before = limits.limit(resource, memoryBytes: memory.bytes)
        if new != 0 {
            let limit = ResourceLimit(try word64(new, memory), try word64(new &+ 8, memory))
            try limits.set(resource, to: limit, memoryBytes: memory.bytes)
        }
        if old != 0 {
            var record = GuestRecord()
            record.append(before.soft)
            record.append(before.hard)
            try space.write(record.bytes, at: old, memory)
        }
        return .zero
    }

    private mutating func oneLimit(
        _ arguments: CallArguments, sets: Bool, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments[1] != 0 else { throw .efault }
        return try exchangeLimit(
            arguments.uint(0), new: sets ? arguments[1] : 0, old: sets ? 0 : arguments[1], memory)
    }

    // MARK: Times

    /// `getrusage`: processor time is the time that has passed.
    mutating func getrusage(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        var record = GuestRecord()
        switch arguments.int(0) {
        case 0, 1:
            record.append(moment.monotonic / Self.billion)
            record.append(moment.monotonic % Self.billion / 1000)
            record.pad(to: 32)
            // ru_maxrss, in KiB.
            record.append(UInt64(max(space.frames.used, 0)) * GuestMemory.pageBytes / 1024)
        case -1: break
        default: throw .einval
        }
        record.pad(to: 144)
        try space.write(record.bytes, at: arguments[1], memory)
        return .zero
    }

    /// `times`, in ticks of 10 ms.
    mutating func times(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let ticks = moment.monotonic / 10_000_000
        if arguments[0] != 0 {
            var record = GuestRecord()
            record.append(ticks)
            record.pad(to: 32)
            try space.write(record.bytes, at: arguments[0], memory)
        }
        return .value(ticks)
    }

    // MARK: Segments' bases

    /// `arch_prctl`
    mutating func archPrctl(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        switch arguments.uint(0) {
        case 0x1001: return .onProcessor(.setBase(.gs, try base(arguments[1])))
        case 0x1002: return .onProcessor(.setBase(.fs, try base(arguments[1])))
        case 0x1003: return .onProcessor(.storeBase(.fs, at: arguments[1]))
        case 0x1004: return .onProcessor(.storeBase(.gs, at: arguments[1]))
        // ARCH_GET_CPUID and _SET_CPUID
        case 0x1011: return .value(1 as UInt64)
        case 0x1012: throw .enodev
        default: throw .einval
        }
    }

    private func base(_ address: UInt64) throws(Errno) -> UInt64 {
        guard address < AddressLayout.userEnd else { throw .eperm }
        return address
    }

    // MARK: The table

    mutating func performOnLimits(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .prlimit64: return try prlimit64(arguments, memory)
        case .getrlimit: return try oneLimit(arguments, sets: false, memory)
        case .setrlimit: return try oneLimit(arguments, sets: true, memory)
        case .getrusage: return try getrusage(arguments, memory)
        case .times: return try times(arguments, memory)
        case .archPrctl: return try archPrctl(arguments)
        case .prctl: return try prctl(arguments, memory)
        case .execve: return try execve(arguments, memory)
        case .wait4, .waitid: throw .echild
        case .seccomp: throw .einval
        default: return nil
        }
    }
}
