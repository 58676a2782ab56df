// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Brings the jobs of a spool to their ends: has workers started, takes results as they appear, and has chunks that were lost started
/// again.
struct FarmRun: Sendable {
    let spool: Spool
    /// The ids of the jobs that are wanted, by chunk.
    let wanted: [Int: Set<String>]
    let engine: any FarmEngine
    /// Takes each wanted result once, with its newline. What it throws ends the run.
    let deliver: @Sendable (_ id: String, _ line: [UInt8]) async throws -> Void

    /// How often a chunk is submitted before somebody has to look why it never ends: 4.
    static let submissionLimit = 4
    /// Between two looks at the results, of which many take longer: at most a tenth of the time is spent looking.
    static let resultInterval = Duration.milliseconds(300)
    /// Between two questions to the engine: sites ask their users not to call `squeue` all the time.
    static let engineInterval = Duration.seconds(3)

    /// Returns when each wanted job's result was delivered. When the task is cancelled, or a result was not taken, the workers are told
    /// to stop; the spool keeps what there is.
    ///
    /// - Parameter isNew: whether no worker can be at it already.
    /// - Throws: ``CommandFailure`` when chunks end without results again and again, `CancellationError`, what `deliver` throws.
    func run(isNew: Bool) async throws {
        do {
            try await follow(isNew: isNew)
        } catch {
            // Not a part of this task, which may be cancelled.
            await Task { await engine.cancel() }.value
            throw error
        }
    }

    private func follow(isNew: Bool) async throws {
        var state = State(missing: wanted)
        try await collect(&state)
        guard !state.missing.isEmpty else { return }
        let active = isNew ? [] : try await askedUntilAnswered()
        try await submit(state.missing.keys.filter { !active.contains($0) }, &state)
        let clock = ContinuousClock()
        var next = clock.now + Self.engineInterval
        while !state.missing.isEmpty {
            try await Task.sleep(for: max(Self.resultInterval, state.looked * 9))
            // Asked first: what has ended by then has published.
            var active: Set<Int>?
            if clock.now >= next {
                active = try await engine.activeChunks()
                next = clock.now + Self.engineInterval
            }
            try await collect(&state)
            if let active { try await submit(state.missing.keys.filter { !active.contains($0) }, &state) }
        }
    }

    private struct State {
        /// No chunk without a job.
        var missing: [Int: Set<String>]
        var submissions: [Int: Int] = [:]
        /// How long the last look took.
        var looked = Duration.zero

        init(missing: [Int: Set<String>]) { self.missing = missing.filter { !$0.value.isEmpty } }
    }

    /// Before anything is submitted it has to be known what runs.
    private func askedUntilAnswered() async throws -> Set<Int> {
        while true {
            if let active = try await engine.activeChunks() { return active }
            try await Task.sleep(for: Self.engineInterval)
        }
    }

    private func collect(_ state: inout State) async throws {
        let spool = spool
        let begin = ContinuousClock.now
        let there = Set(try await Spool.queue.perform { try spool.results() })
        let found = state.missing.mapValues { $0.intersection(there) }.filter { !$0.value.isEmpty }
        state.looked = ContinuousClock.now - begin
        for (chunk, ids) in found {
            for id in ids.sorted() {
                let line = try await Spool.queue.perform { try spool.result(of: id) }
                try await deliver(id, line)
                state.missing[chunk]?.remove(id)
            }
            if state.missing[chunk]?.isEmpty == true { state.missing[chunk] = nil }
        }
    }

    private func submit(_ chunks: [Int], _ state: inout State) async throws {
        guard !chunks.isEmpty else { return }
        for chunk in chunks {
            state.submissions[chunk, default: 0] += 1
            guard state.submissions[chunk, default: 0] <= Self.submissionLimit else { throw await lost(chunk, state) }
        }
        try await engine.submit(chunks.sorted())
    }

    private func lost(_ chunk: Int, _ state: State) async -> CommandFailure {
        let jobs = state.missing[chunk]?.count ?? 0
        let words = await engine.lastWords(of: chunk).map { "; its last worker said: \($0)" } ?? ""
        return CommandFailure(
            message:
                "\(spool.chunkPath(chunk)) was begun \(Self.submissionLimit) times, and \(jobs) of its jobs have no result"
                + "\(words); when that is mended, go on with --resume",
            status: ExitStatus.broken)
    }
}
