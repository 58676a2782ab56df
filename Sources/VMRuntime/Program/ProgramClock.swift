// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM
internal import LinuxPersonality

/// What a program's clocks show while its job runs.
///
/// The monotonic clock goes on from where the program's start left it, so that it tells nothing of the host's.
struct ProgramClock {
    /// When a fixed clock begins: 2000-01-01 00:00:00 UTC, in nanoseconds since 1970.
    private static let fixedStart: UInt64 = 946_684_800_000_000_000
    /// What passes on a fixed clock with each call: 1 us.
    private static let fixedStep: UInt64 = 1_000
    /// What the monotonic clock shows when a program starts: one second, since some take zero for none.
    static let start = Moment(monotonic: 1_000_000_000, realtime: fixedStart)

    private let policy: ProgramSpec.Clock
    /// The instant of ``MonotonicClock`` at which the program's own showed 0; it may lie before that clock's beginning.
    private let origin: Int64
    private var fixed: UInt64

    /// A clock that goes on from a moment.
    init(_ policy: ProgramSpec.Clock, from moment: Moment) {
        self.policy = policy
        origin = Int64(clamping: MonotonicClock.now) - Int64(clamping: moment.monotonic)
        fixed = moment.monotonic
    }

    /// What the clocks show when the program asks, or is served.
    mutating func next() -> Moment {
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
}
