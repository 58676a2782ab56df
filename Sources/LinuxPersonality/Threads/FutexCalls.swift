// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    /// `futex`, but for its locks that inherit priority: ENOSYS.
    mutating func futex(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        if let place = threads.running.futex { return goOnWaiting(place) }
        let operation = arguments.uint(1)
        let command = operation & ~0x180
        // FUTEX_CLOCK_REALTIME says which clock a deadline is by, where there is one.
        guard operation & 0x100 == 0 || command == 9 else { throw .enosys }
        switch command {
        case 0, 9: return try futexWait(arguments, memory)
        case 1, 10:
            let bits = command == 1 ? .max : arguments.uint(5)
            try demandFutex(arguments[0])
            guard bits != 0 else { throw .einval }
            return .value(threads.wakeFutex(arguments[0], atMost: arguments.int(2), bits: bits))
        case 3, 4: return try futexRequeue(arguments, comparing: command == 4, memory)
        case 5: return try futexWakeOperation(arguments, memory)
        default: throw .enosys
        }
    }

    private func demandFutex(_ address: UInt64) throws(Errno) {
        guard address % 4 == 0 else { throw .einval }
        guard address < AddressLayout.userEnd else { throw .efault }
    }

    /// `FUTEX_WAIT` and `FUTEX_WAIT_BITSET`.
    private mutating func futexWait(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let (deadline, bits) = (
            try futexDeadline(arguments, memory), arguments.uint(1) & 0x7F == 0 ? .max : arguments.uint(5)
        )
        guard bits != 0 else { throw .einval }
        try demandFutex(arguments[0])
        guard try word32(arguments[0], memory) == arguments.uint(2) else { throw .eagain }
        if let deadline, deadline <= moment.monotonic { throw .etimedout }
        let place = FutexPlace(address: arguments[0], bits: bits, order: threads.newPlace(), deadline: deadline)
        threads.running.futex = place
        return .wait(Wait(events: [.signal], deadline: deadline))
    }

    /// What comes of a wait that something has disturbed.
    private mutating func goOnWaiting(_ place: FutexPlace) -> CallEnd {
        guard place.isWoken || isOver(place.deadline) else {
            return .wait(Wait(events: [.signal], deadline: place.deadline))
        }
        threads.running.futex = nil
        return .value(place.isWoken ? 0 : Errno.etimedout.returnValue)
    }

    /// When a wait is over, by the monotonic clock: `FUTEX_WAIT` says how long it lasts, `FUTEX_WAIT_BITSET` when it ends.
    private mutating func futexDeadline(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> UInt64? {
        guard arguments[3] != 0 else { return nil }
        let end = try span(at: arguments[3], memory)
        guard arguments.uint(1) & 0x7F == 9 else { return Self.sum(moment.monotonic, end) }
        guard arguments.uint(1) & 0x100 != 0 else { return end }
        return Self.sum(moment.monotonic, end > moment.realtime ? end - moment.realtime : 0)
    }

    /// `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE`.
    private mutating func futexRequeue(
        _ arguments: CallArguments, comparing: Bool, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let (waking, moving) = (arguments.int(2), arguments.int(3))
        guard waking >= 0, moving >= 0 else { throw .einval }
        try demandFutex(arguments[0])
        try demandFutex(arguments[4])
        if comparing, try word32(arguments[0], memory) != arguments.uint(5) { throw .eagain }
        return .value(threads.requeue(arguments[0], to: arguments[4], waking: waking, moving: moving))
    }

    private mutating func futexWakeOperation(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        try demandFutex(arguments[0])
        try demandFutex(arguments[4])
        let operation = try FutexOperation(arguments.uint(5))
        let word = try word32(arguments[4], memory)
        try space.writeWord(UInt64(operation.changed(word)), at: arguments[4], bytes: 4, memory)
        guard let holds = operation.holds(word) else { throw .enosys }
        var woken = threads.wakeFutex(arguments[0], atMost: arguments.int(2))
        if holds { woken += threads.wakeFutex(arguments[4], atMost: arguments.int(3)) }
        return .value(woken)
    }
}
