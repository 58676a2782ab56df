// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// How much one job's guest may write: no more than its client's credit, and no more than ``windowBytes`` that the socket has
/// not taken yet. So a client that grants much and reads nothing still costs bounded memory.
///
/// A guest's last bytes come whether or not there is credit for them; they wait here, and the result behind them.
struct OutputGate {
    /// The most bytes of one job between its guest and the socket: 64 KiB.
    static let windowBytes = 64 << 10

    /// The client's credit that the guest has not been given.
    private var credit = 0
    /// What the guest has been given and not used.
    private var granted = 0
    /// What is on its way to the socket.
    private var unsent = 0
    /// What came beyond the grant: less than a slot's `PendingOutput` holds, and only at the job's end. Memory windows wait for
    /// credit in their slot.
    private var held: [(channel: OutputChannel, bytes: [UInt8])] = []
    /// Whether the client can give no more credit.
    private var isClosed = false

    /// Whether bytes wait for credit.
    var isHolding: Bool { !held.isEmpty }

    /// The client gave more credit. Returns what can be sent of the bytes that were held.
    mutating func add(credit more: Int) -> [(channel: OutputChannel, bytes: [UInt8])] {
        guard !isClosed else { return [] }
        credit += more
        var ready: [(channel: OutputChannel, bytes: [UInt8])] = []
        while credit > 0, let first = held.first {
            let count = min(credit, first.bytes.count)
            ready.append((first.channel, Array(first.bytes.prefix(count))))
            credit -= count
            unsent += count
            if count == first.bytes.count { held.removeFirst() } else { held[0].bytes.removeFirst(count) }
        }
        return ready
    }

    /// What the guest can be given now; counts it as given.
    mutating func grant() -> Int {
        let more = min(credit, Self.windowBytes - granted - unsent)
        guard more > 0 else { return 0 }
        credit -= more
        granted += more
        return more
    }

    /// The guest wrote bytes. Returns those that can be sent now.
    mutating func pass(_ channel: OutputChannel, _ bytes: [UInt8]) -> [UInt8] {
        // The last bytes of a job may use credit that was not given out.
        let sendable = held.isEmpty ? min(bytes.count, granted + credit) : 0
        let fromGrant = min(sendable, granted)
        granted -= fromGrant
        credit -= sendable - fromGrant
        unsent += sendable
        if sendable < bytes.count, !isClosed { held.append((channel, Array(bytes.dropFirst(sendable)))) }
        return sendable == bytes.count ? bytes : Array(bytes.prefix(sendable))
    }

    /// The socket took bytes.
    mutating func flushed(_ count: Int) { unsent -= count }

    /// No more credit will come: gives up what waits for some, now and from here on.
    mutating func close() { (isClosed, held) = (true, []) }
}
