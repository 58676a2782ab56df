// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Takes the results of a batch, from whichever engine: counts them and writes them, each line whole.
actor BatchResults {
    /// How lines are written.
    enum Order: Sendable { case asTheyCome, asInManifest }

    /// The most results that wait for an earlier line's: 1024.
    static let heldLimit = 1024
    /// The most bytes of results that wait for an earlier line's: 64 MiB, and what one more result has.
    static let heldBytesLimit = 64 << 20

    private let sink: ByteSink
    private let order: Order
    private let endsAtFailure: Bool
    private let written: @Sendable ([BatchResult]) async -> Void
    private(set) var tally = BatchTally()
    /// Jobs that an engine has and that have no result.
    private(set) var running = 0

    /// Lines whose results are still to be written, as they stand in the manifest, and those that have come too early.
    private var expected: [Int] = []
    private var held: [Int: BatchResult] = [:]
    private var heldBytes = 0
    private let (room, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

    /// - Parameters:
    ///   - endsAtFailure: whether the first result that is no success is the last.
    ///   - written: is told of each result that the sink has.
    init(
        _ sink: ByteSink, order: Order = .asTheyCome, endsAtFailure: Bool = false,
        written: @escaping @Sendable ([BatchResult]) async -> Void = { _ in }
    ) {
        (self.sink, self.order, self.endsAtFailure, self.written) = (sink, order, endsAtFailure, written)
    }

    /// Takes note of a line whose result will come. In the manifest's order this waits while too many results are held.
    func expect(line: Int) async {
        while isFull { for await _ in room { break } }
        running += 1
        if order == .asInManifest { expected.append(line) }
    }

    private var isFull: Bool { held.count >= Self.heldLimit || heldBytes >= Self.heldBytesLimit }

    /// Writes a line whole, and all that waited for it, and returns when that is done.
    ///
    /// - Throws: ``OutputError``; ``BatchFailure`` behind the first failure, where that is the end.
    func add(_ result: BatchResult) async throws {
        running -= 1
        tally.add(result)
        if order == .asTheyCome {
            try await write([result])
        } else {
            try await hold(result)
        }
        guard endsAtFailure, !result.isSuccess else { return }
        try await flush()
        throw BatchFailure()
    }

    private func hold(_ result: BatchResult) async throws {
        held[result.line] = result
        heldBytes += result.bytes.count
        var ready: [BatchResult] = []
        for line in expected {
            guard let next = held.removeValue(forKey: line) else { break }
            ready.append(next)
            heldBytes -= next.bytes.count
        }
        expected.removeFirst(ready.count)
        if !ready.isEmpty { signal.yield() }
        try await write(ready)
    }

    private func write(_ results: [BatchResult]) async throws {
        try await sink.write(results.flatMap(\.bytes))
        await written(results)
    }

    /// Writes what waits for lines that will have no result, for the batch is over.
    ///
    /// - Throws: ``OutputError``.
    func flush() async throws {
        let rest = held.sorted { $0.key < $1.key }.map(\.value)
        (held, heldBytes, expected) = ([:], 0, [])
        try await write(rest)
    }
}

/// Ends a batch with its first failure.
struct BatchFailure: Error, Hashable {}
