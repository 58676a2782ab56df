// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// How far a batch has got, on one line.
struct BatchProgress: Sendable {
    /// Jobs in all; nil where nobody knows.
    var total: Int?
    /// Those that were left out included.
    var done = 0
    var running = 0
    /// Outcomes that are no success, by name.
    var failures: [String: Int] = [:]
    /// Jobs per second lately; nil where none has ended.
    var rate: Double?

    /// Such as `412/2000 done, 256 in flight, 3 faulted, 1234 jobs/s, 1.2 s left`.
    func line(width: Int) -> String {
        let parts: [String?] =
            [total.map { "\(done)/\($0) done" } ?? "\(done) done", "\(running) in flight"]
            + failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
            + [rate.map { "\(ShortText.oneDecimal(UInt64(($0 * 1000).rounded()), 1000)) jobs/s" }, left]
        return ShortText.plain("kvmjob: " + parts.compactMap(\.self).joined(separator: ", "), width: width)
    }

    private var left: String? {
        guard let total, let rate, rate > 0 else { return nil }
        let seconds = Double(max(0, total - done)) / rate
        guard seconds < 1e9 else { return nil }
        return "\(DurationText.long(nanoseconds: UInt64(seconds * 1e9))) left"
    }
}

/// Shows on a terminal how far a batch has got, until its task is cancelled.
struct BatchView: Sendable {
    let console: Console
    let results: BatchResults
    let loader: BatchLoader
    let total: Int?

    /// How long each line stays: 200 ms.
    static let interval = Duration.milliseconds(200)
    /// How many lines back the rate is reckoned from: 5 s.
    static let rateSamples = 25

    func show() async {
        var samples: [(instant: ContinuousClock.Instant, done: Int)] = []
        while !Task.isCancelled {
            let tally = await results.tally
            let skipped = await loader.skipped
            samples.append((.now, tally.jobs))
            if samples.count > Self.rateSamples { samples.removeFirst() }
            let progress = BatchProgress(
                total: total, done: skipped + tally.jobs, running: await results.running, failures: tally.failures,
                rate: Self.rate(samples))
            let width = (TerminalWindow.standardError?.columns ?? 80) - 1
            try? await console.messages.write(UploadNotice.clearLine + Array(progress.line(width: width).utf8))
            try? await Task.sleep(for: Self.interval)
        }
        try? await console.messages.write(UploadNotice.clearLine)
    }

    private static func rate(_ samples: [(instant: ContinuousClock.Instant, done: Int)]) -> Double? {
        guard let first = samples.first, let last = samples.last, last.done > first.done else { return nil }
        return Double(last.done - first.done) * 1e9 / Double(max(1, (last.instant - first.instant).wholeNanoseconds))
    }
}
