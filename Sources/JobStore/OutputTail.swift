// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Where the output of a running job ends, and what gathers there before it becomes a row.
///
/// What a guest writes comes in pieces of a few bytes. Those of one group and channel become one row, as far as it has room.
struct OutputTail {
    /// Bytes of a row, at most.
    static let rowBytes = 64 << 10

    /// A piece of one channel, in its place.
    struct Row {
        var sequence: Int64
        var channel: OutputChannel
        var start: UInt64
        var bytes: [UInt8]
    }

    private var sequence: Int64 = 0
    private var ends: [OutputChannel: UInt64] = [:]
    private var channel = OutputChannel.console
    private var gathered: [UInt8] = []

    /// Takes as much as still belongs in the row that gathers, and says how much that is.
    mutating func gather(_ bytes: ArraySlice<UInt8>, of channel: OutputChannel) -> Int {
        if gathered.isEmpty { self.channel = channel }
        guard channel == self.channel else { return 0 }
        let piece = bytes.prefix(Self.rowBytes - gathered.count)
        gathered += piece
        return piece.count
    }

    /// The row that gathered, nil where nothing did.
    mutating func takeRow() -> Row? {
        guard !gathered.isEmpty else { return nil }
        defer {
            sequence += 1
            ends[channel, default: 0] += UInt64(gathered.count)
            gathered = []
        }
        return Row(sequence: sequence + 1, channel: channel, start: ends[channel] ?? 0, bytes: gathered)
    }
}
