// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// Takes the results of a batch, from whichever engine: counts them and writes them.
actor BatchResults {
    private let sink: ByteSink
    private(set) var tally = BatchTally()

    init(_ sink: ByteSink) { self.sink = sink }

    /// Writes a line whole, and returns when that is done.
    ///
    /// - Throws: ``OutputError``.
    func add(_ result: BatchResult) async throws {
        try await sink.write(result.bytes)
        tally.add(result)
    }
}
