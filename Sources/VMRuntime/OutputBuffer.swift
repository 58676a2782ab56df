// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// Guest output on its way out: gathered a little, then given away as far as the client's credit goes.
///
/// Bytes leave in the order in which the guest wrote them. They are held back for at most ``flushDelay`` and at most
/// ``chunkBytes`` of them, so a slow talker is seen soon and a fast one costs one event for many exits.
struct OutputBuffer {
    /// The most bytes that wait here, and the most in one event.
    static let chunkBytes = 16 << 10
    /// The longest that a byte waits here while there is credit: 10 ms, in nanoseconds.
    static let flushDelay: UInt64 = 10_000_000

    private(set) var channel = OutputChannel.console
    private(set) var bytes: [UInt8] = []
    /// When the oldest byte has waited long enough.
    private(set) var dueAt: UInt64?

    var isEmpty: Bool { bytes.isEmpty }

    /// Whether these bytes have to wait until what is here has gone.
    func mustFlush(before channel: OutputChannel, adding count: Int) -> Bool {
        !bytes.isEmpty && (channel != self.channel || bytes.count + count > Self.chunkBytes)
    }

    mutating func append(_ byte: UInt8, now: UInt64) {
        start(.console, now: now)
        bytes.append(byte)
    }

    mutating func append(_ more: [UInt8], to channel: OutputChannel, now: UInt64) {
        start(channel, now: now)
        bytes += more
    }

    private mutating func start(_ channel: OutputChannel, now: @autoclosure () -> UInt64) {
        guard bytes.isEmpty else { return }
        if bytes.capacity == 0 { bytes.reserveCapacity(256) }
        self.channel = channel
        dueAt = now() + Self.flushDelay
    }

    /// Takes the oldest bytes away.
    mutating func take(_ count: Int) -> [UInt8] {
        guard count < bytes.count else {
            defer {
                bytes = []
                dueAt = nil
            }
            return bytes
        }
        defer { bytes.removeFirst(count) }
        return Array(bytes.prefix(count))
    }
}
