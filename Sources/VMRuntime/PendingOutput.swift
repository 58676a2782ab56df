// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import DequeModule
internal import JobModel
internal import KVM

/// Guest output on its way out: gathered a little, then given away as far as the client's credit goes.
///
/// Bytes leave in the order in which the guest wrote them. They are held back for at most ``flushDelay`` while there is credit,
/// so a slow talker is seen soon and a fast one costs one event for many exits.
struct PendingOutput {
    /// The bytes that may wait here before the guest has to wait: 16 KiB. On top may come what the guest wrote without exits,
    /// ``CoalescedWrites/limit`` bytes, and one exit's elements, a page at most.
    static let chunkBytes = 16 << 10
    /// The longest that a byte waits here while there is credit: 10 ms, in nanoseconds.
    static let flushDelay: UInt64 = 10_000_000

    /// Room that is there from the start, so that a job that says little allocates none while it runs: 256 bytes.
    static let readyBytes = 256

    /// Complete pieces, oldest first.
    private var older: Deque<Chunk> = []
    /// The piece that is still growing.
    private var newest = Chunk(channel: .console, bytes: [])
    private(set) var count = 0
    /// When the oldest byte has waited long enough.
    private(set) var dueAt: UInt64?

    private struct Chunk {
        var channel: OutputChannel
        var bytes: [UInt8]
    }

    init() { newest.bytes.reserveCapacity(Self.readyBytes) }

    var isEmpty: Bool { count == 0 }
    var isFull: Bool { count >= Self.chunkBytes }

    /// Returns whether these are the first bytes to wait.
    mutating func append(_ bytes: some Collection<UInt8>, to channel: OutputChannel) -> Bool {
        let isFirst = isEmpty
        if isFirst { dueAt = MonotonicClock.now + Self.flushDelay }
        if newest.channel != channel {
            if !newest.bytes.isEmpty { older.append(takeNewest()) }
            newest.channel = channel
        }
        newest.bytes.append(contentsOf: bytes)
        count += bytes.count
        return isFirst
    }

    private mutating func takeNewest() -> Chunk {
        defer { newest.bytes = [] }
        return newest
    }

    /// Takes at most this many of the oldest bytes, all of one channel.
    mutating func take(upTo limit: Int) -> (channel: OutputChannel, bytes: [UInt8])? {
        guard !isEmpty else { return nil }
        var first = older.popFirst() ?? takeNewest()
        if first.bytes.count > limit {
            let rest = Array(first.bytes.dropFirst(limit))
            first.bytes.removeLast(rest.count)
            older.prepend(Chunk(channel: first.channel, bytes: rest))
        }
        count -= first.bytes.count
        if isEmpty { dueAt = nil }
        return (first.channel, first.bytes)
    }
}
