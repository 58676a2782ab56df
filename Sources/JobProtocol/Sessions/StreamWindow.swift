// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The receiver's side of a stream's credit: what the peer may still send, and what it is owed.
struct ReceiveWindow {
    /// The credit that the peer may have at most.
    let size: UInt32
    /// Bytes that the peer may still send.
    private(set) var credit: UInt32
    /// Bytes that were consumed and not given back yet.
    private var owed: UInt32 = 0

    init(size: UInt32) { (self.size, credit) = (size, size) }

    /// Takes bytes that came, or returns false when they are more than the credit.
    mutating func take(_ count: Int) -> Bool {
        guard count <= credit else { return false }
        credit -= UInt32(count)
        return true
    }

    /// Notes that bytes were consumed, and returns the credit to give back now, if any.
    ///
    /// Credit goes back in halves of the window: a reader of single bytes would else cost a frame for each. A peer is
    /// never left at zero by this, since less than half is owed at any time.
    mutating func consume(_ count: Int) -> UInt32? {
        let outstanding = size - credit - owed
        owed += UInt32(clamping: min(max(count, 0), Int(outstanding)))
        guard owed > 0, owed >= max(1, size / 2) else { return nil }
        defer { owed = 0 }
        credit += owed
        return owed
    }
}

/// The sender's side of a stream's credit.
struct SendWindow {
    /// Bytes that may still be sent.
    private(set) var credit: UInt32

    init(credit: UInt32) { self.credit = credit }

    /// Adds what a WINDOW frame gave.
    mutating func add(_ more: UInt32) throws(WireError) {
        let sum = UInt64(credit) + UInt64(more)
        guard sum <= Hello.largestWindow else {
            throw WireError(
                .windowOverflow, "\(more) bytes more make the credit \(sum), above 2147483647",
                frameType: FrameType.window.rawValue, limit: UInt64(Hello.largestWindow), value: sum)
        }
        credit = UInt32(sum)
    }

    /// Uses up to `count` bytes and returns how many.
    mutating func spend(atMost count: Int) -> Int {
        let spent = min(count, Int(credit))
        credit -= UInt32(spent)
        return spent
    }
}
