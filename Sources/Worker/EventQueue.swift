// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobScheduling
internal import KVM
internal import NIOConcurrencyHelpers

/// What the slots have to tell the event loop, in the order in which they tell it. The loop reads all there is at once.
///
/// The loop is called at most once for all that it then finds. While it has promised to look soon, it is called only for what
/// cannot wait so long. Room is kept from one batch to the next, so that telling allocates nothing.
final class EventQueue: Sendable {
    struct Entry: Sendable {
        let key: JobKey
        let event: JobEvent
        /// When it was told, by ``MonotonicClock``.
        let instant: UInt64
    }

    /// Entries for which there is always room: what a few slots bring about between two looks.
    static let readyEntries = 64
    /// Entries for which room is kept after a batch that needed more.
    static let keptEntries = 1024

    /// Whether the reader comes by itself.
    enum Reader {
        case away
        /// It will look soon.
        case due
        /// It has been called, or looks all the time.
        case coming
    }

    private struct State {
        var entries: [Entry] = []
        var reader = Reader.away
    }

    private let state: NIOLockedValueBox<State>
    private let call: @Sendable () -> Void

    /// - Parameter call: lets the reader come; may be called from any thread, and must not block.
    init(call: @escaping @Sendable () -> Void) {
        self.call = call
        var state = State()
        state.entries.reserveCapacity(Self.readyEntries)
        self.state = NIOLockedValueBox(state)
    }

    /// Adds an event. From any thread.
    ///
    /// - Parameter isUrgent: whether a promise to look soon is not soon enough.
    func put(_ event: JobEvent, of key: JobKey, isUrgent: Bool) {
        let instant = MonotonicClock.now
        let mustCall = state.withLockedValue { state in
            state.entries.append(Entry(key: key, event: event, instant: instant))
            guard state.reader == .away || (state.reader == .due && isUrgent) else { return false }
            state.reader = .coming
            return true
        }
        if mustCall { call() }
    }

    /// The reader will come soon without being called.
    func promiseLook() {
        state.withLockedValue { if $0.reader == .away { $0.reader = .due } }
    }

    /// Gives the reader all there is, in place of what it had.
    ///
    /// - Parameter next: how it will look the next time.
    func take(into entries: inout [Entry], next: Reader) {
        entries.removeAll(keepingCapacity: entries.capacity <= Self.keptEntries)
        entries.reserveCapacity(Self.readyEntries)
        state.withLockedValue { state in
            swap(&state.entries, &entries)
            state.reader = next
        }
    }
}
