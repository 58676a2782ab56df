// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A window of guest memory as it was at the job's end.
struct MemoryDump: Sendable, Hashable {
    /// The most bytes of all of a job's windows together, the core's aside: 64 MiB.
    static let byteLimit: UInt64 = 64 << 20

    /// The guest physical address of the first byte.
    var address: UInt64
    var bytes: [UInt8]
    /// Whether all of it is known to have come. What has not come is zero.
    var isComplete = true

    /// A window of zeros.
    ///
    /// - Precondition: the range holds at most ``byteLimit`` bytes.
    init(_ range: MemoryRange) {
        precondition(range.count <= Self.byteLimit, "a window of \(range.count) bytes")
        (address, bytes) = (range.address, [UInt8](repeating: 0, count: Int(range.count)))
    }

    init(address: UInt64, bytes: [UInt8]) { (self.address, self.bytes) = (address, bytes) }

    /// Takes over what a record holds of this window.
    mutating func merge(_ record: MemoryRecord) {
        // Both lengths fit an Int: that of the record by its limit, that of the window by its own.
        let (ahead, behind) = (address.subtractingReportingOverflow(record.address), record.address &- address)
        let skipped = ahead.overflow ? 0 : ahead.partialValue
        let start = ahead.overflow ? behind : 0
        guard skipped < UInt64(record.bytes.count), start < UInt64(bytes.count) else { return }
        let piece = record.bytes.dropFirst(Int(skipped)).prefix(bytes.count - Int(start))
        bytes.replaceSubrange(Int(start)..<Int(start) + piece.count, with: piece)
    }
}

extension MemoryRange {
    /// Whether all of a record lies in this range.
    func contains(_ record: MemoryRecord) -> Bool {
        let (start, count) = (record.address.subtractingReportingOverflow(address), UInt64(record.bytes.count))
        return !start.overflow && count <= self.count && start.partialValue <= self.count - count
    }
}
