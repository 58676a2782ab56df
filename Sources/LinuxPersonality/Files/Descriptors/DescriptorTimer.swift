// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A `timerfd`. Instants are nanoseconds of the monotonic clock.
struct DescriptorTimer: Sendable {
    /// The clock that it was made for.
    let clock: GuestClock
    /// When it goes off next, or went off first since it was last read; nil while it is off.
    private(set) var next: UInt64?
    /// How long after that it goes off again; 0 for never.
    private(set) var interval: UInt64 = 0

    init(_ clock: GuestClock) { self.clock = clock }

    mutating func set(_ next: UInt64?, interval: UInt64) { (self.next, self.interval) = (next, interval) }

    /// How often it went off since it was last read.
    func expirations(at now: UInt64) -> UInt64 {
        guard let next, next <= now else { return 0 }
        return interval == 0 ? 1 : (now - next) / interval + 1
    }

    /// How long until it goes off for the next time that nobody has been told of; 0 while it is off.
    func remaining(at now: UInt64) -> UInt64 {
        guard let next else { return 0 }
        if next > now { return next - now }
        return interval == 0 ? 0 : interval - (now - next) % interval
    }

    /// It was read.
    mutating func forgetExpirations(at now: UInt64) {
        let left = remaining(at: now)
        next = left == 0 ? nil : LinuxProcess.sum(now, left)
    }
}
