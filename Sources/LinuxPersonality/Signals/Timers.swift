// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Something that comes at an instant of the monotonic clock, and then again and again.
struct IntervalTimer: Sendable, Hashable {
    /// When it comes next; nil if it does not.
    var expiry: UInt64?
    /// Nanoseconds from one time to the next; 0 for once.
    var interval: UInt64 = 0

    /// A timer comes no sooner again than this, so that its program has time to go on: 100 us.
    static let finestInterval: UInt64 = 100_000

    /// How often it has come up to now since it was asked last.
    mutating func take(at now: UInt64) -> UInt64 {
        guard let first = expiry, first <= now else { return 0 }
        guard interval > 0 else {
            expiry = nil
            return 1
        }
        let more = (now - first) / interval
        let (next, overflow) = first.addingReportingOverflow(interval &* (more &+ 1))
        expiry = overflow ? nil : max(next, now &+ Self.finestInterval)
        return more &+ 1
    }

    /// How long until it comes; 0 if it does not.
    func rest(at now: UInt64) -> UInt64 {
        guard let expiry else { return 0 }
        return max(expiry - min(expiry, now), 1)
    }
}

/// One that `timer_create` has made.
struct ProgramTimer: Sendable {
    var clock: GuestClock
    /// nil if nobody is told.
    var signal: Signal?
    /// The thread that is told; nil for any.
    var thread: UInt32?
    /// What the program wants to be told.
    var value: UInt64
    var timer = IntervalTimer()
    /// How often it came, beyond the first time, before its signal was taken.
    var overrun: Int32 = 0
}

/// All timers of a process.
struct Timers: Sendable {
    /// The most that `timer_create` makes: 64.
    static let limit = 64

    /// `alarm`, `setitimer` with `ITIMER_REAL`.
    var alarm = IntervalTimer()
    /// By their numbers, some of which are free.
    var made: [ProgramTimer?] = []

    /// When the first one comes, as far as ``noteDue()`` knows.
    private(set) var due = UInt64.max

    /// To be called when any of them has changed.
    mutating func noteDue() {
        due = made.reduce(alarm.expiry ?? .max) { min($0, $1?.timer.expiry ?? .max) }
    }
}
