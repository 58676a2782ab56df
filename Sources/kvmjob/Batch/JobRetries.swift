// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// When a batch's job runs again, whose end says nothing about it.
///
/// What the worker has no room for now waits, for that is no result of the job's; what the host or the worker broke runs again as often
/// as was asked for.
struct JobRetries: Sendable {
    /// The first pause: 100 ms; each next one is twice as long.
    static let firstPause = Duration.milliseconds(100)
    /// The longest pause: 30 s, also where the worker says more.
    static let longestPause = Duration.seconds(30)
    /// How long a job waits for a worker that has no room for it, time and again: 5 min.
    static let roomPatience = Duration.seconds(300)

    /// How often it may still run again for a fault of the host or of the worker.
    private var left: Int
    private var pauses = 0
    /// Since when the worker has had no room.
    private var crowdedSince: ContinuousClock.Instant?

    /// - Parameter limit: how often a job runs again of which the host or the worker was at fault.
    init(limit: Int) { left = limit }

    /// How long to wait before the job runs again; nil where its end stands.
    mutating func pause(after end: JobEnd, at now: ContinuousClock.Instant = .now) -> Duration? {
        switch end.fault {
        case nil: return nil
        case .room(let estimate):
            let since = crowdedSince ?? now
            crowdedSince = since
            guard now - since < Self.roomPatience else { return nil }
            return estimate.map { min($0, Self.longestPause) } ?? nextPause()
        case .host:
            crowdedSince = nil
            guard left > 0 else { return nil }
            left -= 1
            return nextPause()
        }
    }

    private mutating func nextPause() -> Duration {
        defer { pauses += 1 }
        return min(Self.firstPause * (1 << min(pauses, 10)), Self.longestPause)
    }
}

extension JobEnd {
    /// Whose fault it is that a job has no result of its own.
    fileprivate enum Fault {
        /// The worker's, that has no room now; it may say for how long.
        case room(Duration?)
        case host
    }

    fileprivate var fault: Fault? {
        switch self {
        case .lost: return .host
        case .refused(let rejection):
            guard rejection.isRetryable else { return nil }
            return .room(rejection.retryNanoseconds.map(Duration.init(wholeNanoseconds:)))
        case .ended(let result):
            switch result.outcome {
            case .hostError, .cancelled(by: .drain), .cancelled(by: .disconnect): return .host
            case .halted, .exited, .faulted, .tripleFault, .unemulatable, .exhausted, .cancelled, .waitExpired,
                .snapshotTaken:
                return nil
            }
        }
    }

    /// Whether nobody knows what became of it.
    var isLost: Bool {
        if case .lost = self { true } else { false }
    }

    /// Whether the job's connection takes no more jobs.
    var needsConnection: Bool {
        switch self {
        case .lost: true
        case .refused(let rejection): rejection.code == "draining"
        case .ended(let result): result.outcome == .cancelled(by: .drain)
        }
    }
}
