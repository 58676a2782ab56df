// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Where a batch's jobs run.
protocol BatchEngine: Sendable {
    /// Runs all jobs that the feed has, and gives each result to the results. Returns when all are there.
    ///
    /// When its task is cancelled it stops what runs and throws `CancellationError`; what such jobs come to is no result.
    ///
    /// - Throws: ``CommandFailure`` where the batch cannot go on, what ``BatchFeed/next()`` and ``BatchResults/add(_:)`` throw.
    func run(_ feed: BatchFeed, into results: BatchResults) async throws
}
