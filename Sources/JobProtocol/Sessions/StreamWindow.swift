// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The receiver's side of a stream's credit: what the peer may still send.
struct ReceiveWindow {
    /// Bytes that the peer may still send.
    private(set) var credit: UInt32

    init(credit: UInt32) { self.credit = credit }

    /// Takes bytes that came, or returns false when they are more than the credit.
    mutating func take(_ count: Int) -> Bool {
        guard count <= credit else { return false }
        credit -= UInt32(count)
        return true
    }

    /// Gives the peer up to `count` bytes more, and returns what a WINDOW frame has to say, if anything.
    mutating func grant(_ count: Int) -> Window? {
        let more = min(UInt32(clamping: count), Hello.largestWindow - credit)
        guard more > 0 else { return nil }
        credit += more
        return Window(credit: more)
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
