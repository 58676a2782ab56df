// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A line on a terminal that tells how a load goes on.
actor BenchProgress {
    private let messages: ByteSink?
    private var isShown = false
    private static let interval = Duration.milliseconds(200)

    /// - Parameter messages: nil where nobody looks on.
    init(messages: ByteSink?) { self.messages = messages }

    /// Shows how many jobs have ended until the task is cancelled; nil where nobody looks on.
    nonisolated func follow(_ load: LoadConnections) -> Task<Void, Never>? {
        guard messages != nil else { return nil }
        return Task {
            var (last, since) = (0, ContinuousClock.now)
            while !Task.isCancelled, let finished = try? await load.finished() {
                let now = ContinuousClock.now
                await show(finished, rate: Double(finished - last) / ((now - since) / .seconds(1)))
                (last, since) = (finished, now)
                // Cancelled in its sleep, it has nothing left to show.
                try? await Task.sleep(for: Self.interval)
            }
        }
    }

    private func show(_ finished: Int, rate: Double) async {
        guard let messages, !Task.isCancelled else { return }
        let speed = isShown ? ", \(BenchText.grouped(Int(rate))) jobs/s" : ""
        isShown = true
        try? await messages.write(Array("\r\(BenchText.grouped(finished)) jobs\(speed)\u{1b}[K".utf8))
    }

    /// Takes the line away.
    func finish() async {
        guard let messages, isShown else { return }
        try? await messages.write(Array("\r\u{1b}[K".utf8))
    }
}
