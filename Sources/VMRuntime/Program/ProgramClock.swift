// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM
internal import LinuxPersonality

/// What a program's clocks show while its job runs.
///
/// The monotonic clock goes on from where the program's start left it, so that it tells nothing of the host's. Where the guest can read
/// the time-stamp counter the clocks are made from that, here and in the guest by the same formula.
struct ProgramClock {
    /// When a fixed clock begins: 2000-01-01 00:00:00 UTC, in nanoseconds since 1970.
    private static let fixedStart: UInt64 = 946_684_800_000_000_000
    /// What passes on a fixed clock with each call: 1 us.
    private static let fixedStep: UInt64 = 1_000
    /// What the clocks show when a program starts: one second since the beginning, since some take zero for none.
    static let start = Moment(monotonic: 1_000_000_000, realtime: fixedStart)

    private let policy: ProgramSpec.Clock
    /// Those of the shared object in the guest; nil where it has none.
    let guest: GuestClocks?
    /// From the guest's time-stamp counter to this processor's.
    private let offset: UInt64
    /// The instant of ``MonotonicClock`` at which the program's own showed 0; it may lie before that clock's beginning.
    private let origin: Int64
    private var fixed: UInt64

    /// A clock that goes on from a moment.
    ///
    /// - Parameters:
    ///   - offset: what the guest's time-stamp counter is ahead of this processor's; nil where nobody knows.
    ///   - rate: how fast that runs.
    init(_ policy: ProgramSpec.Clock, from moment: Moment, offset: UInt64?, rate: TimeStampRate) {
        self.policy = policy
        let now = MonotonicClock.now
        origin = Int64(clamping: now) - Int64(clamping: moment.monotonic)
        fixed = moment.monotonic
        self.offset = offset ?? 0
        guard policy == .real, let offset, let perTick = rate.nanosecondsPerTick(at: now) else {
            guest = nil
            return
        }
        guest = GuestClocks(
            ticks: TimeStampCounter.now &+ offset, nanosecondsPerTick: perTick, monotonic: moment.monotonic,
            realtimeOffset: RealtimeClock.now &- moment.monotonic)
    }

    /// What the clocks show when the program asks, or is served.
    mutating func next() -> Moment {
        if let guest {
            let monotonic = guest.monotonic(at: TimeStampCounter.now &+ offset)
            return Moment(monotonic: monotonic, realtime: monotonic &+ guest.realtimeOffset)
        }
        switch policy {
        case .real:
            let monotonic = UInt64(clamping: Int64(clamping: MonotonicClock.now) - origin)
            return Moment(monotonic: monotonic, realtime: RealtimeClock.now)
        case .fixed:
            fixed &+= Self.fixedStep
            return Moment(monotonic: fixed, realtime: Self.fixedStart &+ fixed)
        }
    }

    /// Lets a fixed clock skip a sleep until this instant of the program's. Returns false for a real one, which has to wait.
    mutating func skip(to instant: UInt64) -> Bool {
        guard policy == .fixed else { return false }
        fixed = max(fixed, instant)
        return true
    }

    /// The instant of ``MonotonicClock`` for one of the program's monotonic clock; `.max` for one that never comes.
    func hostInstant(of instant: UInt64) -> UInt64 {
        guard let signed = Int64(exactly: instant) else { return .max }
        let (sum, overflow) = signed.addingReportingOverflow(origin)
        return overflow ? .max : UInt64(clamping: sum)
    }

    /// Puts what the guest's clocks are made from where its code looks for it.
    func install(in memory: borrowing GuestMemory) {
        let none = GuestClocks(ticks: 0, nanosecondsPerTick: 0, monotonic: 0, realtimeOffset: 0)
        let address = ProgramArea.physicalAddress(of: ProgramArea.clocks)
        let words = (guest ?? none).words
        if memory.words(at: address, count: words.count) != words { _ = memory.setWords(words, at: address) }
    }
}

/// How fast the time-stamp counter runs, by two looks at it and at the clock.
struct TimeStampRate: Sendable, Hashable {
    /// Between the two looks there should be so much that reading both does not matter: 10 ms, in nanoseconds.
    private static let leastSpan: UInt64 = 10_000_000

    private let ticks: UInt64
    private let nanoseconds: UInt64

    /// Takes the first look.
    init() { (ticks, nanoseconds) = (TimeStampCounter.now, MonotonicClock.now) }

    /// Nanoseconds of a tick, times 2^32; nil where the counter is no clock, or it is too early to tell.
    ///
    /// - Parameter now: of ``MonotonicClock``.
    func nanosecondsPerTick(at now: UInt64) -> UInt64? {
        let (passed, span) = (TimeStampCounter.now &- ticks, now &- nanoseconds)
        guard TimeStampCounter.isSteady, span >= Self.leastSpan, passed > span >> 4, span >> 32 < passed else {
            return nil
        }
        return passed.dividingFullWidth((high: span >> 32, low: span << 32)).quotient
    }
}
