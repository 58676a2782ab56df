// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// One run of a batch, on whichever engine: its view while it lasts, its summary at its end.
struct BatchSession: Sendable {
    let loader: BatchLoader
    let results: BatchResults
    let console: Console
    /// Jobs of the manifest; nil where nobody knows.
    var total: Int?
    /// Whether somebody looks at standard error.
    var hasView = false

    /// Runs the engine until it or somebody ends it. The first Ctrl-C cancels it; the second ends the process.
    func run(_ engine: @escaping @Sendable (BatchFeed) async throws -> Void) async -> Result<Void, any Error> {
        let (loader, results) = (loader, results)
        let feed = BatchFeed {
            guard let item = try await loader.next() else { return nil }
            await results.expect(line: item.line)
            return item
        }
        let begin = ContinuousClock.now
        let work = Task { try await engine(feed) }
        let interrupts = Interrupts(first: work.cancel)
        defer { withExtendedLifetime(interrupts) {} }
        let view = BatchView(console: console, results: results, loader: loader, total: total)
        let showing = hasView ? Task { await view.show() } : nil
        var end = await work.result
        if case .failure = end, case .failure(let error) = await Result.catching({ try await results.flush() }) {
            end = .failure(error)
        }
        showing?.cancel()
        await showing?.value
        let nanoseconds = (ContinuousClock.now - begin).wholeNanoseconds
        let summary = BatchSummary(
            tally: await results.tally, skipped: await loader.skipped, nanoseconds: nanoseconds)
        await console.say(summary.lines.joined(separator: "\n"))
        return end
    }
}

extension BatchFeed.Item {
    fileprivate var line: Int {
        switch self {
        case .job(let job): job.line
        case .refused(let result): result.line
        }
    }
}
