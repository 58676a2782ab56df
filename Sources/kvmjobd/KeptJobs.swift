// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobStore
internal import Systemd
internal import Worker

/// The detached jobs that this worker finds and will keep.
enum KeptJobs {
    /// Opens them, or returns nil where no directory is there for them. Blocks for as long as it takes to read the log that the last
    /// worker left. Before the files are closed: all that SQLite needs is open then.
    static func open(_ options: Options) throws(Failure) -> JobKeeper? {
        guard let directory = options.stateDirectory ?? StateDirectory.assigned else { return nil }
        do throws(JobStoreError) {
            return try JobKeeper(directory: directory, limits: options.detached)
        } catch {
            throw Failure(status: .unusableState, message: "detached jobs: \(error)")
        }
    }
}
