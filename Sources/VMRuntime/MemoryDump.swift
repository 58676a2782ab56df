// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// The windows of guest memory that a job asked for, taken piece by piece as they are sent. What is zero is left out.
struct MemoryDump: ~Copyable {
    private var windows: ArraySlice<MemoryRange>
    /// Where the first of the windows goes on.
    private var position: UInt64
    private var pages = OccupiedPages()

    init(_ windows: [MemoryRange]) {
        self.windows = windows[...]
        position = windows.first?.address ?? 0
    }

    /// The next run of bytes out of pages that hold something, or, behind a window's last one, the record that ends it. nil behind
    /// the last window.
    mutating func next(in memory: borrowing GuestMemory) -> MemoryRecord? {
        guard let window = windows.first, let end = window.end else { return nil }
        if let run = run(from: position, to: end, in: memory),
            let bytes = memory.read(at: run.lowerBound, count: run.count)
        {
            position = run.upperBound
            return MemoryRecord(address: run.lowerBound, bytes: bytes)
        }
        windows.removeFirst()
        position = windows.first?.address ?? 0
        return MemoryRecord(address: end, bytes: [])
    }

    /// The first occupied pages, as long as they follow each other and fit in a record.
    private mutating func run(from start: UInt64, to end: UInt64, in memory: borrowing GuestMemory) -> Range<UInt64>? {
        guard start < end,
            let first = pages.next(from: start / GuestMemory.pageBytes * GuestMemory.pageBytes, below: end, in: memory)
        else { return nil }
        let begin = max(first, start)
        let limit = min(end, begin + UInt64(MemoryRecord.limit))
        var behind = first + GuestMemory.pageBytes
        while behind < limit, pages.next(from: behind, below: behind + 1, in: memory) != nil {
            behind += GuestMemory.pageBytes
        }
        return begin..<min(behind, limit)
    }
}

extension MemoryDump {
    /// How long the windows of a job wait for credit, all waits together: 10 s, in nanoseconds.
    static let patience: UInt64 = 10_000_000_000

    /// Sends the windows, as the client's credit allows, with no more than one record in hand. Blocks the slot's thread while
    /// there is no credit, until its patience is used up, or the job is cancelled, or its client can give no more: what is not
    /// sent then is left out, and the window that it belongs to lacks its end. The job's result is what it was.
    mutating func send(
        from memory: borrowing GuestMemory, through control: JobControl, patience: UInt64 = patience,
        emit: (JobEvent) -> Void
    ) {
        var patience = patience
        while let record = next(in: memory) {
            let bytes = record.encoded
            var sent = 0
            while sent < bytes.count {
                let credit = control.takeCredit(upTo: bytes.count - sent)
                if credit > 0 {
                    emit(.output(.memory, Array(bytes[sent..<(sent + credit)])))
                    sent += credit
                    continue
                }
                let now = MonotonicClock.now
                guard control.waitForCredit(until: now + patience) else { return }
                patience -= min(patience, MonotonicClock.now - now)
            }
        }
    }

    /// Whether these windows can be sent of a guest with so much memory.
    static func check(_ windows: [MemoryRange], memoryBytes: UInt64) throws(Refusal) {
        guard windows.count <= MemoryRange.dumpLimit else {
            throw Refusal(
                .invalidField, "\(windows.count) memory windows are asked for; \(MemoryRange.dumpLimit) are the most",
                limit: UInt64(MemoryRange.dumpLimit), value: UInt64(windows.count))
        }
        for (index, window) in windows.enumerated() {
            let name = "memory window \(index + 1), \(window.count) bytes at \(window.address.hexadecimal),"
            guard window.count > 0 else {
                throw Refusal(.invalidField, "\(name) is empty: it must have one byte at least", value: 0)
            }
            guard let end = window.end, end <= memoryBytes else {
                throw Refusal(
                    .invalidField,
                    "\(name) is not all in guest memory: it must end at \(memoryBytes.hexadecimal) at most",
                    limit: memoryBytes, value: window.address)
            }
        }
    }
}
