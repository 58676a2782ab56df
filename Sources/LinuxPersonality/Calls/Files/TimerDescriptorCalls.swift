// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Timers that are descriptors.
extension LinuxProcess {
    /// `timerfd_create`.
    mutating func timerfdCreate(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let flags = OpenFlags(rawValue: arguments.uint(1))
        guard flags.isSubset(of: [.closeOnExec, .nonBlocking]), let clock = GuestClock(rawValue: arguments.int(0)),
            [.realtime, .monotonic, .bootTime].contains(clock)
        else { throw .einval }
        _ = try files.table.free()
        let object = files.newObject()
        files.timers[object] = DescriptorTimer(clock)
        let file = OpenFile(kind: .timer(object), flags: flags.intersection(.nonBlocking).union(.readWrite))
        return .value(UInt64(try files.add(file, closeOnExec: flags.contains(.closeOnExec))))
    }

    private func timer(_ descriptor: Int32) throws(Errno) -> (ObjectNumber, DescriptorTimer) {
        guard case .timer(let object) = try files.file(descriptor).kind, let timer = files.timers[object] else {
            throw .einval
        }
        return (object, timer)
    }

    /// `timerfd_settime`. TFD_TIMER_CANCEL_ON_SET asks for nothing: nobody sets the clocks.
    mutating func timerfdSettime(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let interval = try span(at: arguments[2], memory)
        let value = try span(at: arguments[2] &+ 16, memory)
        guard arguments.uint(1) & ~3 == 0 else { throw .einval }
        var (object, timer) = try timer(arguments.int(0))
        if arguments[3] != 0 { try put(timer, at: arguments[3], memory) }
        var wait = value
        if arguments.uint(1) & 1 != 0 {
            let now = timer.clock.nanoseconds(of: moment)
            wait = value > now ? value - now : 0
        }
        timer.set(value == 0 ? nil : Self.sum(moment.monotonic, wait), interval: interval)
        files.timers[object] = timer
        files.raise(object)
        return .zero
    }

    /// `timerfd_gettime`.
    mutating func timerfdGettime(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let (_, timer) = try timer(arguments.int(0))
        try put(timer, at: arguments[1], memory)
        return .zero
    }

    /// `struct itimerspec`.
    private mutating func put(
        _ timer: DescriptorTimer, at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        var record = GuestRecord()
        for time in [timer.interval, timer.remaining(at: moment.monotonic)] {
            record.append(time / Self.billion)
            record.append(time % Self.billion)
        }
        try space.write(record.bytes, at: address, memory)
    }
}
