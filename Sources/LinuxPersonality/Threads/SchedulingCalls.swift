// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// What programs ask of the scheduler. There is one processor; all threads have turns on it, none before others.
extension LinuxProcess {
    /// `membarrier`: threads that take turns on one processor see each other's stores anyway.
    func membarrier(_ arguments: CallArguments) throws(Errno) -> CallEnd {
        // GLOBAL, GLOBAL_EXPEDITED, PRIVATE_EXPEDITED and PRIVATE_EXPEDITED_SYNC_CORE, the latter three with their registration.
        let known: Int32 = 0x7F
        let command = arguments.int(0)
        guard arguments.uint(1) == 0 else { throw .einval }
        if command == 0 { return .value(UInt64(known)) }
        guard command.nonzeroBitCount == 1, command & known != 0 else { throw .einval }
        return .zero
    }

    /// `getcpu`: processor 0 of node 0.
    mutating func getcpu(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        for index in 0..<2 where arguments[index] != 0 { try put(0, bytes: 4, at: arguments[index], memory) }
        return .zero
    }

    mutating func performOnScheduling(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .schedGetPriorityMax: return .value(try isRealTime(arguments.int(0)) ? 99 : 0)
        case .schedGetPriorityMin: return .value(try isRealTime(arguments.int(0)) ? 1 : 0)
        case .schedSetaffinity:
            try demandThread(arguments.int(0))
            let count = Int(min(arguments.uint(1), 8))
            guard count > 0 else { throw .einval }
            guard try space.readWord(arguments[2], bytes: count, memory) & 1 != 0 else { throw .einval }
        case .schedGetscheduler: try demandThread(arguments.int(0))
        case .schedGetparam:
            try demandThread(arguments.int(0))
            guard arguments[1] != 0 else { throw .einval }
            try put(0, bytes: 4, at: arguments[1], memory)
        case .schedSetparam:
            try demandThread(arguments.int(0))
            try demandNoPriority(arguments[1], memory)
        case .schedSetscheduler:
            try demandThread(arguments.int(0))
            // SCHED_RESET_ON_FORK is no policy.
            let isRealTime = try isRealTime(arguments.int(1) & ~0x4000_0000)
            guard !isRealTime else { throw .eperm }
            try demandNoPriority(arguments[2], memory)
        case .schedRrGetInterval:
            try demandThread(arguments.int(0))
            try space.write([UInt8](repeating: 0, count: 16), at: arguments[1], memory)
        case .getpriority:
            try demandSelf(arguments)
            return .value(20 - niceness)
        case .setpriority:
            try demandSelf(arguments)
            let wanted = Int(min(max(arguments.int(2), -20), 19))
            guard wanted >= niceness else { throw .eacces }
            niceness = wanted
        default: return nil
        }
        return .zero
    }

    /// - Throws: EINVAL for a policy that there is not.
    private func isRealTime(_ policy: Int32) throws(Errno) -> Bool {
        switch policy {
        case 1, 2: true
        case 0, 3, 5, 6: false
        default: throw .einval
        }
    }

    private func demandThread(_ number: Int32) throws(Errno) {
        guard number >= 0 else { throw .einval }
        guard number == 0 || threads.index(of: UInt32(number)) != nil else { throw .esrch }
    }

    private mutating func demandNoPriority(_ address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) {
        guard address != 0 else { throw .einval }
        guard try word32(address, memory) == 0 else { throw .einval }
    }

    /// Whose priority it is about: the process, its group or its user.
    private func demandSelf(_ arguments: CallArguments) throws(Errno) {
        switch arguments.int(0) {
        case 0, 1:
            guard arguments.int(1) == 0 || threads.index(of: arguments.uint(1)) != nil else { throw .esrch }
        case 2: guard [0, ProcessFiles.user].contains(arguments.uint(1)) else { throw .esrch }
        default: throw .einval
        }
    }
}
