// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

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
}
