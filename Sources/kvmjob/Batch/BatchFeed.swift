// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A manifest's jobs, one after the other, as an engine asks for them.
///
/// What waits for a line lets go when its task is cancelled, whatever the line's source does.
final class BatchFeed: Sendable {
    /// What a line became.
    enum Item: Sendable {
        case job(BatchJob)
        /// A line that is no job: what is told of it in its place.
        case refused(BatchResult)
    }

    private let requests: AsyncStream<Void>.Continuation
    private let answers: AsyncThrowingStream<Item?, any Error>
    private let reading: Task<Void, Never>

    /// - Parameter makeItem: the next item, nil at the end; called again only when it has returned.
    init(_ makeItem: @escaping @Sendable () async throws -> Item?) {
        let (requested, requests) = AsyncStream.makeStream(of: Void.self)
        let (answers, answered) = AsyncThrowingStream.makeStream(of: Item?.self)
        (self.requests, self.answers) = (requests, answers)
        reading = Task {
            do {
                for await _ in requested { answered.yield(try await makeItem()) }
                answered.finish()
            } catch {
                answered.finish(throwing: error)
            }
        }
    }

    deinit { reading.cancel() }

    /// The next item, nil at the end and when the task is cancelled. One call at a time.
    ///
    /// - Throws: ``CommandFailure`` where the manifest cannot be read any more.
    func next() async throws -> Item? {
        requests.yield()
        var iterator = answers.makeAsyncIterator()
        return try await iterator.next() ?? nil
    }
}

/// Makes jobs of a manifest's lines: reads their files, names them, and leaves out what needs not run.
actor BatchLoader {
    private var lines: ManifestLines
    private let files = BatchFiles()
    private let isDone: @Sendable (_ id: String) -> Bool
    /// How often each id was there; the bytes of its digits, since strings take more.
    private var counts: [ContentKey: UInt32] = [:]
    private(set) var skipped = 0

    /// - Parameter isDone: whether a job of this id needs not run.
    init(_ manifest: Manifest, isDone: @escaping @Sendable (_ id: String) -> Bool = { _ in false }) throws {
        lines = try manifest.lines()
        self.isDone = isDone
    }

    /// - Throws: ``CommandFailure``.
    func next() async throws -> BatchFeed.Item? {
        while let line = try await nextLine() {
            switch line {
            case .failure(let problem): return .refused(BatchResult(problem))
            case .success(let line):
                if let item = try await item(line) { return item }
                skipped += 1
            }
        }
        return nil
    }

    /// An actor's own value cannot wait in place.
    private func nextLine() async throws -> Result<ManifestLine, ManifestProblem>? {
        var lines = lines
        defer { self.lines = lines }
        return try await lines.next()
    }

    private func item(_ line: ManifestLine) async throws -> BatchFeed.Item? {
        var job: BatchJob
        do {
            job = try await BatchJob(line, files: files)
        } catch let rejection as Rejection {
            return .refused(BatchResult(line, rejection))
        }
        job.id = JobIdentity.repeated(job.id, count(job.id))
        return isDone(job.id) ? nil : .job(job)
    }

    private func count(_ id: String) -> Int {
        let count = counts[ContentKey(id), default: 0] + 1
        counts[ContentKey(id)] = count
        return Int(count)
    }

    /// An id in 16 bytes.
    private struct ContentKey: Hashable {
        let high: UInt64, low: UInt64

        init(_ id: String) {
            high = UInt64(id.prefix(JobIdentity.digits / 2), radix: 16) ?? 0
            low = UInt64(id.dropFirst(JobIdentity.digits / 2), radix: 16) ?? 0
        }
    }
}
