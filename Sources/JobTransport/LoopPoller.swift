// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc
public import NIOCore

/// Keeps an event loop from sleeping for a while after something has happened on it: it asks the kernel for more without waiting,
/// and lets every other thread go first between two times.
///
/// Waking a sleeping thread costs more than a short job. Confined to the event loop.
public final class LoopPoller {
    private let eventLoop: any EventLoop
    private let time: Duration
    private let look: () -> Void
    private var end = ContinuousClock.now
    /// Whether the loop is awake, and ``look`` will be called again without further doing.
    public private(set) var isPolling = false

    /// - Parameters:
    ///   - time: for how long after the last activity the loop stays awake.
    ///   - look: called each time around, and once more when the loop is about to sleep, with ``isPolling`` false. What it finds
    ///     should be told by ``noteActivity()``.
    public init(_ eventLoop: any EventLoop, for time: Duration, look: @escaping () -> Void = {}) {
        (self.eventLoop, self.time, self.look) = (eventLoop, time, look)
    }

    /// Something has happened: the loop stays awake from here on.
    public func noteActivity() {
        end = .now + time
        guard !isPolling else { return }
        isPolling = true
        goAround()
    }

    private func goAround() {
        eventLoop.assumeIsolated().scheduleTask(in: Self.pause) { [weak self] in self?.poll() }
    }

    /// What lies between two times around: 20 us. A loop looks at its sockets only when no task is due; one that was due at once, or
    /// before the loop gets there, would keep it from them.
    static let pause = TimeAmount.microseconds(20)

    private func poll() {
        let goesOn = ContinuousClock.now < end
        isPolling = goesOn
        // If it finds something in its last look, that begins anew.
        look()
        guard goesOn else { return }
        sched_yield()
        goAround()
    }
}
