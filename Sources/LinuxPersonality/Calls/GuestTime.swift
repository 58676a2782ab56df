// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// How calls take times from the guest and give it times.
extension LinuxProcess {
    static var billion: UInt64 { 1_000_000_000 }

    /// Two spans or instants in nanoseconds, at most all that 64 bits hold.
    static func sum(_ one: UInt64, _ other: UInt64) -> UInt64 {
        let (sum, overflow) = one.addingReportingOverflow(other)
        return overflow ? .max : sum
    }

    /// Nanoseconds of a `struct timespec`, at most all that 64 bits hold.
    ///
    /// - Throws: `EINVAL` for what no kernel takes.
    mutating func span(at address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> UInt64 {
        let (seconds, rest) = (try word64(address, memory), try word64(address &+ 8, memory))
        guard Int64(bitPattern: seconds) >= 0, rest < Self.billion else { throw .einval }
        return Self.nanoseconds(seconds, rest)
    }

    /// The same of a `struct timeval`, whose microseconds may be more than a second's.
    mutating func spanOfMicroseconds(at address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> UInt64 {
        let (seconds, rest) = (try word64(address, memory), try word64(address &+ 8, memory))
        guard Int64(bitPattern: seconds) >= 0, Int64(bitPattern: rest) >= 0 else { throw .einval }
        return Self.nanoseconds(Self.sum(seconds, rest / 1_000_000), rest % 1_000_000 * 1000)
    }

    private static func nanoseconds(_ seconds: UInt64, _ rest: UInt64) -> UInt64 {
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: billion)
        return overflow ? .max : sum(whole, rest)
    }

    /// Puts a `struct timespec` (of a billion parts) or a `struct timeval` (of a million) there.
    mutating func put(
        _ time: UInt64, parts: UInt64, at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        var record = GuestRecord()
        record.append(time / parts)
        record.append(time % parts)
        try space.write(record.bytes, at: address, memory)
    }

    // MARK: Deadlines

    /// When a timeout that counts from the call's beginning is over; nil for one that is too far off to matter.
    func deadline(after span: UInt64) -> UInt64? {
        let end = Self.sum(callStarted, span)
        return end == .max ? nil : end
    }

    /// The same; below 0 there is none.
    func deadline(milliseconds: Int32) -> UInt64? {
        milliseconds < 0 ? nil : deadline(after: UInt64(milliseconds) * 1_000_000)
    }

    /// The same of a `struct timespec`, if there is one.
    mutating func deadline(at address: UInt64, _ memory: borrowing GuestMemory) throws(Errno) -> UInt64? {
        address == 0 ? nil : deadline(after: try span(at: address, memory))
    }

    /// Whether a call that found nothing is over, rather than to wait.
    func isOver(_ deadline: UInt64?) -> Bool {
        deadline.map { hasTimedOut || moment.monotonic >= $0 } ?? false
    }

    /// How a call ends that found nothing: it waits for what may bring something, unless its time is over.
    ///
    /// - Parameter expiry: when a timer that it looks at goes off: it is to look again then.
    func nothing(until deadline: UInt64?, or expiry: UInt64? = nil, _ events: Set<WaitEvent>) -> CallEnd {
        // Where only a timer may have ended the wait, the clock says whether it did.
        if let deadline, moment.monotonic >= deadline || (hasTimedOut && expiry == nil) { return .zero }
        return .wait(Wait(events: events, deadline: [deadline, expiry].compactMap { $0 }.min()))
    }
}
