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
    private(set) var tally = BatchTally()
    /// Jobs that an engine has and that have no result.
    private(set) var running = 0

    /// Lines whose results are still to be written, as they stand in the manifest, and those that have come too early.
    private var expected: [Int] = []
    private var held: [Int: BatchResult] = [:]
    private var heldBytes = 0
    private let (room, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

    /// - Parameter endsAtFailure: whether the first result that is no success is the last.
    init(_ sink: ByteSink, order: Order = .asTheyCome, endsAtFailure: Bool = false) {
        (self.sink, self.order, self.endsAtFailure) = (sink, order, endsAtFailure)
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
            try await sink.write(result.bytes)
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
        var ready: [UInt8] = []
        let count = expected.prefix { line in
            guard let next = held.removeValue(forKey: line) else { return false }
            ready += next.bytes
            heldBytes -= next.bytes.count
            return true
        }.count
        expected.removeFirst(count)
        if count > 0 { signal.yield() }
        try await sink.write(ready)
    }

    /// Writes what waits for lines that will have no result, for the batch is over.
    ///
    /// - Throws: ``OutputError``.
    func flush() async throws {
        let rest = held.sorted { $0.key < $1.key }.flatMap(\.value.bytes)
        (held, heldBytes, expected) = ([:], 0, [])
        try await sink.write(rest)
    }
}

/// Ends a batch with its first failure.
struct BatchFailure: Error, Hashable {}
