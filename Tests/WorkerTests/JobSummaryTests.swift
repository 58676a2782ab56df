// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Logging
import NIOConcurrencyHelpers
import Testing

@testable import Worker

@Suite struct JobSummaryTests {
    private struct Records: LogHandler {
        let counts: NIOLockedValueBox<[String]>
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let told = event.metadata ?? [:]
            let text = ["event", "finished", "failed"].map { told[$0].map { "\($0)" } ?? "" }.joined(separator: " ")
            counts.withLockedValue { $0.append(text) }
        }
    }

    private let counts = NIOLockedValueBox<[String]>([])

    private var logger: Logger { Logger(label: "test") { [counts] _ in Records(counts: counts) } }

    private func status(finished: UInt64, failed: UInt64) -> WorkerStatus {
        WorkerStatus(
            slots: 1, running: 0, queued: 0, paused: 0, connections: 0, finished: finished, failed: failed,
            idleSince: nil, isDraining: false)
    }

    @Test func `jobs that have ended are told of once, a minute later`() {
        var summary = JobSummary()
        let start = ContinuousClock.now
        summary.log(status(finished: 0, failed: 0), at: start, to: logger)
        summary.log(status(finished: 5, failed: 1), at: start + .seconds(1), to: logger)
        summary.log(status(finished: 7, failed: 1), at: start + .seconds(60), to: logger)
        #expect(counts.withLockedValue { $0 } == [])
        summary.log(status(finished: 9, failed: 2), at: start + .seconds(61), to: logger)
        summary.log(status(finished: 9, failed: 2), at: start + .seconds(500), to: logger)
        #expect(counts.withLockedValue { $0 } == ["job-summary 9 2"])
    }

    @Test func `those of the last minute are told of at the end, and no others again`() {
        var summary = JobSummary()
        let start = ContinuousClock.now
        summary.flush(status(finished: 0, failed: 0), to: logger)
        #expect(counts.withLockedValue { $0 } == [])
        for (second, finished) in [(0, 3), (60, 4), (61, 6)] as [(Int, UInt64)] {
            summary.log(status(finished: finished, failed: 1), at: start + .seconds(second), to: logger)
        }
        summary.flush(status(finished: 6, failed: 1), to: logger)
        summary.flush(status(finished: 6, failed: 1), to: logger)
        #expect(counts.withLockedValue { $0 } == ["job-summary 4 1", "job-summary 2 0"])
    }
}
