// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What brings workers to machines: each processes a chunk of a spool, with `kvmjob worker`. That a worker ended says nothing about its
/// jobs; their results in the spool do.
protocol FarmEngine: Sendable {
    /// Has workers started for these chunks, now or when there is room.
    ///
    /// - Throws: ``CommandFailure``, `CancellationError`.
    func submit(_ chunks: [Int]) async throws

    /// The chunks for which a worker is still to be started, or works. What has ended by now has published its results. nil where
    /// nobody can tell at the moment.
    ///
    /// - Throws: ``CommandFailure``, `CancellationError`.
    func activeChunks() async throws -> Set<Int>?

    /// Has all workers stopped.
    func cancel() async

    /// Removes what it has on the machines, when all is done.
    func tidy() async

    /// What the workers of a chunk last said, for people; nil if nothing is known.
    func lastWords(of chunk: Int) async -> String?
}
