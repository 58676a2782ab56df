// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import SQLite

/// How far somebody has read the output of a run.
public struct OutputPosition: Sendable, Hashable {
    /// Bytes of each channel that were read; what is beyond the end is waited for.
    public var offsets: [OutputChannel: UInt64]
    /// The last row of which nothing is left to read: where to go on looking.
    var sequence: Int64 = 0

    /// Behind these bytes of each channel.
    public init(_ offsets: [OutputChannel: UInt64] = [:]) { self.offsets = offsets }
}

/// Some output of a job, in the order in which it came.
public struct OutputPage: Sendable, Hashable {
    /// A piece of one channel.
    public struct Chunk: Sendable, Hashable {
        /// Which.
        public var channel: OutputChannel
        /// Bytes of the channel before it.
        public var offset: UInt64
        /// At least one.
        public var bytes: [UInt8]
    }

    /// Which run it is of. A position of another run means nothing: the page of a reader who comes with one is not to be used.
    public var run: UInt32
    /// At most as many bytes as asked for.
    public var chunks: [Chunk] = []
    /// Where to go on.
    public var position: OutputPosition
    /// Whether there is more already.
    public var hasMore = false
}

extension JobStore {
    /// Output from a position on, at most this many bytes (at least 1); nil where there is no such job.
    public func output(of id: UInt64, from position: OutputPosition, limit: Int) throws(JobStoreError) -> OutputPage? {
        try reading { () throws(SQLiteError) in
            let run = try database.first("SELECT run FROM job WHERE id = ?", .integer(id.row)) { row in row.integer(0) }
            guard let run else { return nil }
            var page = OutputPage(run: UInt32(clamping: run), position: position)
            var room = limit
            let query = """
                SELECT sequence, channel, start, length(bytes), bytes FROM output WHERE job = ? AND sequence > ? ORDER BY sequence
                """
            try database.each(query, .integer(id.row), .integer(position.sequence)) { row in page.take(row, &room) }
            return page
        }
    }
}

extension OutputPage {
    /// Takes what was not read of a row, as far as there is room. False when there is none left for the row's rest.
    fileprivate mutating func take(_ row: borrowing Row, _ room: inout Int) -> Bool {
        guard let channel = OutputChannel(rawValue: UInt8(clamping: row.integer(1))) else { return true }
        let (start, count) = (UInt64(clamping: row.integer(2)), Int(row.integer(3)))
        let read = position.offsets[channel] ?? 0
        let skipped = Int(clamping: read - min(read, start))
        if skipped < count {
            let taken = min(count - skipped, room)
            if taken > 0 {
                let bytes = row.bytes(4, in: skipped..<skipped + taken)
                chunks.append(Chunk(channel: channel, offset: start + UInt64(skipped), bytes: bytes))
                position.offsets[channel] = start + UInt64(skipped + taken)
                room -= taken
            }
            hasMore = skipped + taken < count
            if hasMore { return false }
        }
        position.sequence = row.integer(0)
        return true
    }
}
