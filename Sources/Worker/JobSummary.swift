// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import Logging

/// What has ended since the log was last told: the record that stands for all the jobs that get none of their own. One for a
/// worker's whole life, with ``flush(_:to:)`` at its end, so that every job is told of once.
public struct JobSummary: Sendable {
    /// How often there is a record, if any job has ended since the last one.
    public static let interval = Duration.seconds(60)

    private var told = (finished: UInt64(0), failed: UInt64(0))
    private var due: ContinuousClock.Instant?

    /// Nothing has ended yet.
    public init() {}

    /// Looks at the status, and tells the logger if it is time.
    public mutating func log(_ status: WorkerStatus, at now: ContinuousClock.Instant = .now, to logger: Logger) {
        guard status.finished > told.finished else { return due = nil }
        guard let due else { return self.due = now + Self.interval }
        if now >= due { flush(status, to: logger) }
    }

    /// Tells the logger of what it does not know yet, if there is anything.
    public mutating func flush(_ status: WorkerStatus, to logger: Logger) {
        let (finished, failed) = (status.finished - told.finished, status.failed - told.failed)
        (told, due) = ((status.finished, status.failed), nil)
        guard finished > 0 else { return }
        logger.info(
            "\(finished) jobs ended, \(failed) of them failed",
            metadata: ["event": "job-summary", "finished": "\(finished)", "failed": "\(failed)"])
    }
}
