// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// When a job runs again.
struct RetryPause: Sendable {
    /// The first pause before a job runs again of which the host was at fault: 100 ms; each next one is twice as long.
    static let first = Duration.milliseconds(100)
    /// The longest pause: 30 s, also where the worker says more.
    static let longest = Duration.seconds(30)

    /// Nil for what no run would make better.
    func pause(after end: JobEnd, attempt: Int) -> Duration? {
        let usual = min(Self.first * (1 << min(attempt, 10)), Self.longest)
        switch end {
        case .lost: return usual
        case .refused(let rejection):
            guard rejection.isRetryable else { return nil }
            return rejection.retryNanoseconds.map { min(Duration(wholeNanoseconds: $0), Self.longest) } ?? usual
        case .ended(let result):
            switch result.outcome {
            case .hostError, .cancelled(by: .drain), .cancelled(by: .disconnect): return usual
            case .halted, .exited, .faulted, .tripleFault, .unemulatable, .exhausted, .cancelled, .waitExpired,
                .snapshotTaken:
                return nil
            }
        }
    }
}

extension JobEnd {
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
