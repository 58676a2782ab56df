// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import NIOConcurrencyHelpers

/// The way from threads that must not wait to a log that may be slow: a bounded queue with a thread of its own behind
/// it. Records that find the queue full are counted, and the count becomes a record once the writer catches up.
public final class LogSink: Sendable {
    /// The most records that wait; about 1 KiB each in normal use.
    public static let defaultCapacity = 4096

    private struct State {
        var waiting: [JournalRecord] = []
        /// Records taken in and not yet written, in `waiting` or with the writer.
        var unwritten = 0
        var dropped: UInt64 = 0
        var writerIsScheduled = false
    }

    /// What `SYSLOG_IDENTIFIER` says.
    public let identifier: String
    private let destination: any LogDestination
    private let capacity: Int
    private let state = NIOLockedValueBox(State())
    // Serial and without a target: a blocked write then holds up nobody else's thread.
    private let writer = DispatchQueue(label: "kvmjob.log")

    /// A sink that writes to one destination. `capacity` is the most records that wait, at least 1.
    public init(identifier: String, destination: any LogDestination, capacity: Int = LogSink.defaultCapacity) {
        precondition(capacity > 0, "a sink must hold at least one record")
        self.identifier = identifier
        self.destination = destination
        self.capacity = capacity
    }

    /// Takes a record, or counts it as dropped if the queue is full. Never waits for the destination.
    public func submit(_ record: JournalRecord) {
        let mustSchedule = state.withLockedValue { state in
            guard state.unwritten < capacity else {
                state.dropped += 1
                return false
            }
            state.waiting.append(record)
            state.unwritten += 1
            defer { state.writerIsScheduled = true }
            return !state.writerIsScheduled
        }
        if mustSchedule { writer.async { self.writeAll() } }
    }

    /// Waits until everything submitted before is written, at most this long. Returns false if the time was too short.
    /// Blocks the calling thread: for the end of the program only.
    public func flush(within limit: Duration) -> Bool {
        let done = DispatchSemaphore(value: 0)
        writer.async {
            self.reportDropped()
            done.signal()
        }
        let nanoseconds = min(limit / .nanoseconds(1), Double(Int32.max) * 1e9)
        return done.wait(timeout: .now() + .nanoseconds(Int(nanoseconds))) == .success
    }

    private func writeAll() {
        while let batch = nextBatch() {
            for record in batch { write(record) }
            reportDropped()
        }
    }

    private func nextBatch() -> [JournalRecord]? {
        state.withLockedValue { state in
            guard !state.waiting.isEmpty else {
                state.writerIsScheduled = false
                return nil
            }
            defer { state.waiting.removeAll(keepingCapacity: true) }
            return state.waiting
        }
    }

    private func write(_ record: JournalRecord) {
        let failed = (try? destination.write(record)) == nil
        state.withLockedValue { state in
            state.unwritten -= 1
            if failed { state.dropped += 1 }
        }
    }

    /// Says at another destination how many records were not written and will not be: for the end of the program, when the time of
    /// ``flush(within:)`` was too short.
    public func reportUnwritten(to other: any LogDestination) {
        let count = state.withLockedValue { $0.dropped + UInt64($0.unwritten) }
        if count > 0 { try? other.write(.dropped(count, identifier: identifier)) }
    }

    /// Writes the number of lost records as a record of its own, outside the queue, so that it needs no room there. If
    /// that fails too, the number is kept for the next time.
    private func reportDropped() {
        let count = state.withLockedValue { $0.dropped }
        guard count > 0, (try? destination.write(.dropped(count, identifier: identifier))) != nil else { return }
        state.withLockedValue { $0.dropped -= count }
    }
}
