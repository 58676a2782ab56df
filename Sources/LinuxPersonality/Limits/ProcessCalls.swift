// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    /// The most bytes of a thread's name: 15, and a zero.
    private static var nameBytes: Int { 15 }

    /// `prctl`, as far as it is about the process itself.
    mutating func prctl(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        switch arguments.int(0) {
        // PR_GET_PDEATHSIG, PR_GET_CHILD_SUBREAPER
        case 2, 37: try put(0, bytes: 4, at: arguments[1], memory)
        // PR_GET_DUMPABLE
        case 3: return .value(1 as UInt64)
        // PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_TIMERSLACK, PR_SET_CHILD_SUBREAPER, PR_SET_THP_DISABLE
        case 1, 4, 8, 29, 36, 41: break
        // PR_GET_KEEPCAPS, PR_GET_SECCOMP, PR_GET_THP_DISABLE
        case 7, 21, 42: break
        // PR_SET_NAME
        case 15: threads.running.name = try threadName(at: arguments[1], memory)
        // PR_GET_NAME
        case 16:
            var record = GuestRecord()
            record.append(threads.running.name)
            record.pad(to: Self.nameBytes + 1)
            try space.write(record.bytes, at: arguments[1], memory)
        // PR_CAPBSET_READ: none of the 41 that there are.
        case 23: guard arguments[1] <= 40 else { throw .einval }
        // PR_CAPBSET_DROP
        case 24: throw .eperm
        // PR_GET_TIMERSLACK, in nanoseconds.
        case 30: return .value(50_000 as UInt64)
        // PR_SET_NO_NEW_PRIVS
        case 38:
            guard arguments[1] == 1, arguments[2] == 0, arguments[3] == 0, arguments[4] == 0 else { throw .einval }
            hasNoNewPrivileges = true
        // PR_GET_NO_NEW_PRIVS
        case 39: return .value(hasNoNewPrivileges ? 1 as UInt64 : 0)
        // PR_GET_TID_ADDRESS
        case 40: try space.writeWord(threads.running.clearedAddress, at: arguments[1], memory)
        default: throw .einval
        }
        return .zero
    }

    /// What is there of a name before its zero, up to ``nameBytes``.
    private mutating func threadName(
        at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> [UInt8] {
        do throws(Errno) { return try space.cString(at: address, limit: Self.nameBytes, memory) } catch {
            guard error == .enametoolong else { throw error }
            return try space.read(address, count: Self.nameBytes, memory)
        }
    }
}
