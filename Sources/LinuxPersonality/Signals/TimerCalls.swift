// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    private static var million: UInt64 { 1_000_000 }

    /// Sends the signals of timers that have come.
    mutating func fireTimers() {
        let now = moment.monotonic
        if timers.alarm.take(at: now) > 0 { try? send(SignalInfo(.alarm, .kernel), to: nil) }
        for number in timers.made.indices {
            let times = timers.made[number]?.timer.take(at: now) ?? 0
            if times > 0 { fireTimer(number, times) }
        }
        timers.noteDue()
    }

    private mutating func fireTimer(_ number: Int, _ times: UInt64) {
        guard let timer = timers.made[number], let signal = timer.signal else { return }
        let index = timer.thread.flatMap { threads.index(of: $0) }
        if timer.thread != nil, index == nil { return }
        let pending = index.map { threads[$0].pending.set } ?? signals.pending.set
        let isPending = pending.contains(signal)
        let overrun = Int32(clamping: UInt64(isPending ? max(timer.overrun, 0) : 0) &+ times &- (isPending ? 0 : 1))
        timers.made[number]?.overrun = overrun
        guard !isPending else { return }
        let identity = UInt64(number) | UInt64(UInt32(bitPattern: overrun)) << 32
        try? send(SignalInfo(signal, .timer, identity, timer.value), to: index)
    }

    // MARK: alarm and setitimer

    /// `alarm`
    func secondsLeft(_ timer: IntervalTimer) -> UInt64 {
        let rest = timer.rest(at: moment.monotonic)
        // Rounded, but never to 0.
        return rest == 0 ? 0 : max(Self.sum(rest, Self.billion / 2) / Self.billion, 1)
    }

    private mutating func alarm(_ arguments: CallArguments) -> CallEnd {
        let left = secondsLeft(timers.alarm)
        let seconds = UInt64(arguments.uint(0))
        timers.alarm = IntervalTimer(
            expiry: seconds == 0 ? nil : Self.sum(moment.monotonic, seconds * Self.billion))
        timers.noteDue()
        return .value(left)
    }

    private mutating func setitimer(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments.int(0) == 0 else { throw .einval }
        var new = IntervalTimer()
        if arguments[1] != 0 {
            new.interval = try timeval(at: arguments[1], memory)
            let value = try timeval(at: arguments[1] &+ 16, memory)
            new.expiry = value == 0 ? nil : Self.sum(moment.monotonic, value)
        }
        let old = timers.alarm
        timers.alarm = new
        timers.noteDue()
        if arguments[2] != 0 { try put(old, parts: Self.million, at: arguments[2], memory) }
        return .zero
    }

    private mutating func getitimer(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments.int(0) == 0 else { throw .einval }
        try put(timers.alarm, parts: Self.million, at: arguments[1], memory)
        return .zero
    }

    /// A `struct timeval` in nanoseconds.
    private mutating func timeval(at address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> UInt64 {
        let (seconds, parts) = (try word64(address, memory), try word64(address &+ 8, memory))
        guard Int64(bitPattern: seconds) >= 0, parts < Self.million else { throw .einval }
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: Self.billion)
        return overflow ? .max : Self.sum(whole, parts * 1000)
    }

    /// A `struct itimerval` or `struct itimerspec`: interval and rest.
    private mutating func put(
        _ timer: IntervalTimer, parts: UInt64, at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        var record = GuestRecord()
        let unit = Self.billion / parts
        for time in [timer.interval, timer.rest(at: moment.monotonic)] {
            // What is left is never shown as nothing.
            let count = time / unit + (time % unit == 0 ? 0 : 1)
            record.append(count / parts)
            record.append(count % parts)
        }
        try space.write(record.bytes, at: address, memory)
    }

    // MARK: timer_create

    private mutating func timerCreate(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard let clock = GuestClock(rawValue: arguments.int(0)), clock.wakes || clock == .threadTime else {
            throw .einval
        }
        let number = timers.made.firstIndex { $0 == nil } ?? timers.made.count
        guard number < Timers.limit else { throw .eagain }
        var timer = ProgramTimer(clock: clock, signal: .alarm, value: UInt64(number))
        if arguments[1] != 0 { try describe(&timer, at: arguments[1], memory) }
        try put(UInt64(number), bytes: 4, at: arguments[2], memory)
        if number == timers.made.count { timers.made.append(nil) }
        timers.made[number] = timer
        return .zero
    }

    /// What a `struct sigevent` says.
    private mutating func describe(
        _ timer: inout ProgramTimer, at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        let record = try space.read(address, count: 64, memory)
        timer.value = GuestRecord.word(record, at: 0)
        timer.signal = Signal(Int32(truncatingIfNeeded: GuestRecord.word(record, at: 8, count: 4)))
        switch GuestRecord.word(record, at: 12, count: 4) {
        case 0: break
        case 1: return timer.signal = nil
        case 4:
            let thread = UInt32(truncatingIfNeeded: GuestRecord.word(record, at: 16, count: 4))
            guard threads.index(of: thread) != nil else { throw .einval }
            timer.thread = thread
        default: throw .einval
        }
        guard timer.signal != nil else { throw .einval }
    }

    private func timerNumber(_ argument: Int32) throws(Errno) -> Int {
        guard timers.made.indices.contains(Int(argument)), timers.made[Int(argument)] != nil else { throw .einval }
        return Int(argument)
    }

    private mutating func timerSettime(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard arguments[2] != 0 else { throw .einval }
        let interval = try span(at: arguments[2], memory)
        let value = try span(at: arguments[2] &+ 16, memory)
        let number = try timerNumber(arguments.int(0))
        guard let old = timers.made[number] else { throw .einval }
        // TIMER_ABSTIME
        let isAbsolute = arguments.uint(1) & 1 != 0
        let now = old.clock.nanoseconds(of: moment)
        let rest = isAbsolute ? value - min(value, now) : value
        timers.made[number]?.timer = IntervalTimer(
            expiry: value == 0 ? nil : Self.sum(moment.monotonic, rest), interval: interval)
        timers.made[number]?.overrun = 0
        timers.noteDue()
        if arguments[3] != 0 { try put(old.timer, parts: Self.billion, at: arguments[3], memory) }
        return .zero
    }

    mutating func performOnTimers(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .alarm: return alarm(arguments)
        case .setitimer: return try setitimer(arguments, memory)
        case .getitimer: return try getitimer(arguments, memory)
        case .timerCreate: return try timerCreate(arguments, memory)
        case .timerSettime: return try timerSettime(arguments, memory)
        case .timerGettime:
            let number = try timerNumber(arguments.int(0))
            try put(timers.made[number]?.timer ?? IntervalTimer(), parts: Self.billion, at: arguments[1], memory)
        case .timerGetoverrun:
            return .value(Int(timers.made[try timerNumber(arguments.int(0))]?.overrun ?? 0))
        case .timerDelete: timers.made[try timerNumber(arguments.int(0))] = nil
        default: return nil
        }
        timers.noteDue()
        return .zero
    }
}
