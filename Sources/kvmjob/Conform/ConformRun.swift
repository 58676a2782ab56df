// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// Runs files of vectors, each vector as a job of its own, over one connection.
struct ConformRun: Sendable {
    let files: [VectorFile]
    /// The most vectors of each file, or nil for all.
    let limit: Int?
    let progress: ConformProgress

    /// - Throws: ``CommandFailure`` for a file that cannot be read or a worker that is not there, or `CancellationError`.
    func run(on choice: WorkerChoice) async throws -> ConformTally {
        try await WorkerConnection.with(choice) { client in
            let tally = await Result.catching { try await run(client) }
            await progress.finish()
            return try tally.get()
        }
    }

    /// As many vectors are in flight as the worker takes from one client.
    private func run(_ client: JobClient) async throws -> ConformTally {
        try await withThrowingTaskGroup(of: VectorVerdict.self) { group in
            var tally = ConformTally()
            var room = max(1, client.terms.jobLimit)
            for file in files {
                let vectors = try await file.load()
                let metadata = try await file.metadata() ?? OpcodeMetadata()
                for (index, vector) in vectors.prefix(limit ?? .max).enumerated() {
                    try Task.checkCancellation()
                    if room > 0 {
                        room -= 1
                    } else if let verdict = try await group.next() {
                        tally.add(verdict)
                        await progress.show(tally)
                    }
                    let name = "\(file.name)#\(vector.index ?? index) \(vector.name)"
                    group.addTask { try await judge(vector, named: name, metadata, client) }
                }
            }
            for try await verdict in group {
                tally.add(verdict)
                await progress.show(tally)
            }
            return tally
        }
    }

    private func judge(
        _ vector: TestVector, named name: String, _ metadata: OpcodeMetadata, _ client: JobClient
    ) async throws -> VectorVerdict {
        let form = InstructionForm(vector.bytes).form
        do {
            let seen = try await observe(try VectorJob(vector), client)
            let comparison = Comparison(vector, seen, definedFlags: metadata.definedFlags(of: form))
            return VectorVerdict(comparison, name: name)
        } catch let error as ValueError {
            return VectorVerdict(form: form, name: name, finding: .failed([error.description]))
        } catch let error as JobClientError {
            guard error.code == .refused else {
                throw CommandFailure(message: error.message, status: ExitStatus.broken)
            }
            return VectorVerdict(form: form, name: name, finding: .failed(["refused: \(error.message)"]))
        }
    }

    private func observe(_ job: VectorJob, _ client: JobClient) async throws -> Observation {
        let running = try await client.submit(job.spec, image: job.image)
        var decoder = RecordDecoder<MemoryRecord>()
        var records: [MemoryRecord] = []
        for try await chunk in running.output where chunk.channel == .memory { records += decoder.feed(chunk.bytes) }
        return Observation(try await running.result(), memory: records)
    }
}

/// A line on a terminal that counts along.
actor ConformProgress {
    private let messages: ByteSink?
    private var shownAt: ContinuousClock.Instant?
    private static let interval = Duration.milliseconds(100)

    /// - Parameter messages: nil where nobody looks on.
    init(messages: ByteSink?) { self.messages = messages }

    func show(_ tally: ConformTally) async {
        guard let messages, shownAt.map({ ContinuousClock.now - $0 >= Self.interval }) ?? true else { return }
        shownAt = .now
        let total = tally.total
        let line = "\(total.count) vectors, \(total.passed) pass, \(total.knownCount) known, \(total.failed) fail"
        try? await messages.write(Array("\r\(line)\u{1b}[K".utf8))
    }

    /// Takes the line away.
    func finish() async {
        guard let messages, shownAt != nil else { return }
        try? await messages.write(Array("\r\u{1b}[K".utf8))
    }
}
