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
        sleep(until: Self.sum(callStarted, try span(at: arguments[0], memory)))
    }

    /// `clock_nanosleep`.
    mutating func clockNanosleep(
        _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        guard let clock = GuestClock(rawValue: arguments.int(0)) else { throw .einval }
        guard clock.wakes else { throw .eopnotsupp }
        let nanoseconds = try span(at: arguments[2], memory)
        // TIMER_ABSTIME
        guard arguments.uint(1) & 1 != 0 else { return sleep(until: Self.sum(callStarted, nanoseconds)) }
        let now = clock.nanoseconds(of: moment)
        return sleep(until: Self.sum(moment.monotonic, nanoseconds > now ? nanoseconds - now : 0))
    }

    private func sleep(until deadline: UInt64) -> CallEnd {
        hasTimedOut || deadline <= moment.monotonic ? .zero : .wait(Wait(events: [.signal], deadline: deadline))
    }

    // MARK: The table

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
        case .timerfdCreate: try timerfdCreate(arguments, memory)
        case .timerfdSettime: try timerfdSettime(arguments, memory)
        case .timerfdGettime: try timerfdGettime(arguments, memory)
        default: nil
        }
    }
}

/// What is supported of the calls about time.
enum TimeCallRows {
    static let rows: [CallRow] = [
        CallRow(
            calls: [.clockGettime, .clockGetres, .gettimeofday, .time],
            supported: "eight clocks; processor time is the time that has passed", refused: "other clocks EINVAL"),
        CallRow(
            calls: [.nanosleep, .clockNanosleep], supported: "relative and absolute",
            refused: "clocks that cannot wake EOPNOTSUPP"),
        CallRow(
            calls: [.timerfdCreate, .timerfdSettime, .timerfdGettime],
            supported: "once or again and again, relative and absolute", refused: "other clocks and flags EINVAL"),
    ]
}
