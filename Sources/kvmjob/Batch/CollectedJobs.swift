// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVMJobClient

/// Detached jobs whose results are written, which the worker is to forget once those are on the disk.
actor CollectedJobs {
    /// After how many jobs the file is synchronised and the worker told: 256.
    static let portion = 256

    private let file: ResultsFile
    private var ids: [UInt64] = []

    /// - Parameter file: where the results are; what goes to standard output is nobody's yet, and its jobs stay where they are.
    init(_ file: ResultsFile) { self.file = file }

    /// Takes note of results that are written.
    func add(_ results: [BatchResult]) {
        guard file.canSynchronize else { return }
        ids += results.compactMap(\.detachedID)
    }

    /// Has the jobs forgotten, if there are so many. Those of which a kill keeps the worker from hearing stay until its retention takes
    /// them.
    ///
    /// - Throws: ``OutputError``; ``JobClientError``.
    func forget(over client: JobClient, atLeast count: Int = 1) async throws {
        guard ids.count >= count else { return }
        let portion = ids
        ids = []
        do {
            try await file.synchronize()
            _ = try await client.forget(portion)
        } catch {
            ids += portion
            throw error
        }
    }
}
