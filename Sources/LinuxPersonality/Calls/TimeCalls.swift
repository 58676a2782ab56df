// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// A clock that a program can read: `CLOCK_*`. All of them say what ``Moment`` says, so that a job's policy decides what time it is.
enum GuestClock: Int32, CaseIterable, Sendable {
    case realtime = 0
    case monotonic = 1
    case processTime = 2
    case threadTime = 3
    case monotonicRaw = 4
    case realtimeCoarse = 5
    case monotonicCoarse = 6
    case bootTime = 7

    /// Nanoseconds of it.
    func nanoseconds(of moment: Moment) -> UInt64 {
        switch self {
        case .realtime, .realtimeCoarse: moment.realtime
        case .monotonic, .processTime, .threadTime, .monotonicRaw, .monotonicCoarse, .bootTime: moment.monotonic
        }
    }

    /// Whether a program can sleep by it.
    var wakes: Bool {
        switch self {
        case .realtime, .monotonic, .bootTime, .processTime: true
        case .threadTime, .monotonicRaw, .realtimeCoarse, .monotonicCoarse: false
        }
    }
}

extension LinuxProcess {
    private static var billion: UInt64 { 1_000_000_000 }

    /// `clock_gettime`.
    mutating func clockGettime(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard let clock = GuestClock(rawValue: arguments.int(0)) else { throw .einval }
        try put(clock.nanoseconds(of: moment), parts: Self.billion, at: arguments[1], memory)
        return .zero
    }

    /// `clock_getres`: a nanosecond, whatever the clock.
    mutating func clockGetres(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        guard GuestClock(rawValue: arguments.int(0)) != nil else { throw .einval }
        if arguments[1] != 0 { try put(1, parts: Self.billion, at: arguments[1], memory) }
        return .zero
    }

    /// `gettimeofday`: in UTC.
    mutating func gettimeofday(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        if arguments[0] != 0 { try put(moment.realtime / 1000, parts: 1_000_000, at: arguments[0], memory) }
        if arguments[1] != 0 { try put(0, bytes: 8, at: arguments[1], memory) }
        return .zero
    }

    /// `time`.
    mutating func time(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let seconds = moment.realtime / Self.billion
        if arguments[0] != 0 { try put(seconds, bytes: 8, at: arguments[0], memory) }
        return .value(seconds)
    }

    /// `nanosleep`. Nothing but a signal ends it early, which leaves the rest of the time where the program wants it.
    mutating func nanosleep(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let nanoseconds = try duration(at: arguments[0], memory)
        return sleep(until: Self.sum(callStarted, nanoseconds))
    }

    /// `clock_nanosleep`.
    mutating func clockNanosleep(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard let clock = GuestClock(rawValue: arguments.int(0)) else { throw .einval }
        guard clock.wakes else { throw .eopnotsupp }
        let nanoseconds = try duration(at: arguments[2], memory)
        // TIMER_ABSTIME
        guard arguments.uint(1) & 1 != 0 else { return sleep(until: Self.sum(callStarted, nanoseconds)) }
        let now = clock.nanoseconds(of: moment)
        return sleep(until: Self.sum(moment.monotonic, nanoseconds > now ? nanoseconds - now : 0))
    }

    private func sleep(until deadline: UInt64) -> CallEnd {
        hasTimedOut || deadline <= moment.monotonic ? .zero : .wait(Wait(events: [.signal], deadline: deadline))
    }

    static func sum(_ one: UInt64, _ other: UInt64) -> UInt64 {
        let (sum, overflow) = one.addingReportingOverflow(other)
        return overflow ? .max : sum
    }

    /// A `struct timespec` in nanoseconds, at most all that 64 bits hold.
    mutating func duration(at address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> UInt64 {
        let (seconds, rest) = (try word64(address, memory), try word64(Self.sum(address, 8), memory))
        guard Int64(bitPattern: seconds) >= 0, rest < Self.billion else { throw .einval }
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: Self.billion)
        return overflow ? .max : Self.sum(whole, rest)
    }

    /// A `struct timespec` or `struct timeval`.
    private mutating func put(
        _ time: UInt64, parts: UInt64, at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        var record = GuestRecord()
        record.append(time / parts)
        record.append(time % parts)
        try space.write(record.bytes, at: address, memory)
    }
}
