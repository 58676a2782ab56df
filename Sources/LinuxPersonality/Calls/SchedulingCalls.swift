// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// How threads share the processor: all alike, whatever is asked for.
extension LinuxProcess {
    /// `SCHED_*`.
    private enum Policy: UInt32 {
        case other = 0
        case firstInFirstOut = 1
        case roundRobin = 2
        case batch = 3
        case idle = 5
        case deadline = 6

        var isRealTime: Bool {
            switch self {
            case .firstInFirstOut, .roundRobin, .deadline: true
            case .other, .batch, .idle: false
            }
        }

        /// Priorities; the ordinary policies have only 0.
        var priorities: ClosedRange<Int> { self == .firstInFirstOut || self == .roundRobin ? 1...99 : 0...0 }
    }

    /// Whether a thread is meant that there is: 0 is the caller.
    private func demandThread(_ number: Int32) throws(Errno) {
        guard number >= 0 else { throw .einval }
        guard number == 0 || threads.index(of: UInt32(number)) != nil else { throw .esrch }
    }

    private mutating func schedGetaffinity(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments.uint(1) >= 8, arguments.uint(1) % 8 == 0 else { throw .einval }
        try demandThread(arguments.int(0))
        try put(1, bytes: 8, at: arguments[2], memory)
        return .value(8 as UInt64)
    }

    /// A mask that has the one processor.
    private mutating func schedSetaffinity(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        try demandThread(arguments.int(0))
        let mask = try space.read(arguments[2], count: Int(min(arguments.uint(1), 128)), memory)
        guard let first = mask.first, first & 1 != 0 else { throw .einval }
        return .zero
    }

    private mutating func schedSetscheduler(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments[2] != 0 else { throw .einval }
        try demandThread(arguments.int(0))
        // SCHED_RESET_ON_FORK asks for nothing.
        try demandPolicy(arguments.uint(1) & ~0x4000_0000, priority: try word32(arguments[2], memory))
        return .zero
    }

    private func demandPolicy(_ number: UInt32, priority: UInt32) throws(Errno) {
        guard let policy = Policy(rawValue: number), policy.priorities.contains(Int(priority)) else { throw .einval }
        guard !policy.isRealTime else { throw .eperm }
    }

    private mutating func schedSetparam(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments[1] != 0 else { throw .einval }
        try demandThread(arguments.int(0))
        guard try word32(arguments[1], memory) == 0 else { throw .einval }
        return .zero
    }

    private mutating func schedGetparam(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments[1] != 0 else { throw .einval }
        try demandThread(arguments.int(0))
        try put(0, bytes: 4, at: arguments[1], memory)
        return .zero
    }

    private func priority(_ arguments: CallArguments, greatest: Bool) throws(Errno) -> CallEnd {
        guard let policy = Policy(rawValue: arguments.uint(0)) else { throw .einval }
        return .value(greatest ? policy.priorities.upperBound : policy.priorities.lowerBound)
    }

    private mutating func schedRrGetInterval(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        try demandThread(arguments.int(0))
        // 4 ms, as Linux says of ordinary threads.
        try put(4_000_000, parts: Self.billion, at: arguments[1], memory)
        return .zero
    }

    /// `struct sched_attr` of the first version: 48 bytes.
    private mutating func schedGetattr(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments[1] != 0, (48...4096).contains(arguments.uint(2)), arguments.uint(3) == 0 else {
            throw .einval
        }
        try demandThread(arguments.int(0))
        var record = GuestRecord()
        record.append(UInt32(48))
        record.pad(to: 48)
        try space.write(record.bytes, at: arguments[1], memory)
        return .zero
    }

    private mutating func schedSetattr(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments[1] != 0, arguments.uint(2) == 0 else { throw .einval }
        try demandThread(arguments.int(0))
        guard try word32(arguments[1], memory) >= 48 else { throw .e2big }
        let record = GuestRecord(try space.read(arguments[1], count: 48, memory))
        try demandPolicy(
            UInt32(record.number(at: 4, bytes: 4)), priority: UInt32(record.number(at: 20, bytes: 4)))
        return .zero
    }

    /// `getpriority`, `setpriority`: of the process, its group or its user.
    private func demandTarget(_ arguments: CallArguments) throws(Errno) {
        switch arguments.uint(0) {
        case 0, 1:
            guard arguments.uint(1) == 0 || threads.index(of: arguments.uint(1)) != nil else { throw .esrch }
        case 2: guard [0, ProcessFiles.user].contains(arguments.uint(1)) else { throw .esrch }
        default: throw .einval
        }
    }

    private mutating func setpriority(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        try demandTarget(arguments)
        let wanted = Int(min(max(arguments.int(2), -20), 19))
        guard wanted >= niceness else { throw .eacces }
        niceness = wanted
        return .zero
    }

    private func getpriority(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        try demandTarget(arguments)
        // So that no value looks like an error.
        return .value(20 - niceness)
    }

    /// `ioprio_get`, `ioprio_set`: of the process, its group or its user.
    private func ioPriority(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        switch arguments.uint(0) {
        case 1, 2: try demandThread(arguments.int(1))
        case 3: guard arguments.uint(1) == ProcessFiles.user else { throw .esrch }
        default: throw .einval
        }
        return .zero
    }

    // MARK: The table

    mutating func performOnScheduling(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .schedGetaffinity: return try schedGetaffinity(arguments, memory)
        case .schedSetaffinity: return try schedSetaffinity(arguments, memory)
        case .schedGetscheduler:
            try demandThread(arguments.int(0))
            return .zero
        case .schedSetscheduler: return try schedSetscheduler(arguments, memory)
        case .schedGetparam: return try schedGetparam(arguments, memory)
        case .schedSetparam: return try schedSetparam(arguments, memory)
        case .schedGetPriorityMax: return try priority(arguments, greatest: true)
        case .schedGetPriorityMin: return try priority(arguments, greatest: false)
        case .schedRrGetInterval: return try schedRrGetInterval(arguments, memory)
        case .schedGetattr: return try schedGetattr(arguments, memory)
        case .schedSetattr: return try schedSetattr(arguments, memory)
        case .getpriority: return try getpriority(arguments)
        case .setpriority: return try setpriority(arguments)
        case .ioprioGet, .ioprioSet: return try ioPriority(arguments)
        default: return nil
        }
    }
}
