// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import SQLite

/// The detached jobs of a worker, in a SQLite database.
///
/// Changes gather in a group until ``commit()``, which makes all of them last with one flush of the disk. A group holds or falls as
/// one: when a change fails, nothing of its group was done, the rest of it fails the same way, and so does its ``commit()``;
/// the next group begins afresh. What is not committed when the worker ends was never done.
///
/// A store belongs to one thread at a time and blocks it for as long as the disk takes. All files are open once it is: from then on
/// SQLite reads, writes, truncates and flushes them, and opens nothing (the log is kept in `jobs.sqlite-wal`; what sorts and undoes
/// is in memory).
public final class JobStore {
    /// The name of the database in the state directory.
    public static let fileName = "jobs.sqlite"
    /// How many runs of a job the worker's end may cut short; then it is suspected of being the reason, and not run again.
    public static let cutLimit: UInt32 = 3

    /// What is kept. New limits hold from the next change on.
    public var limits: DetachedLimits
    /// Where the database is.
    public let path: String
    /// The jobs that ran when the last worker ended; they wait again, but for those in ``worn()``.
    public let cutShort: [UInt64]

    let database: Database
    /// Where the output of each running job ends, and as of the last commit.
    var tails: [UInt64: OutputTail] = [:]
    private var committedTails: [UInt64: OutputTail] = [:]
    private var group = Group.none

    /// Changes that are not committed.
    private enum Group {
        case none
        case open
        case failed(JobStoreError)
    }

    /// Opens the database of this directory, or makes it, and puts the jobs that ran back among those that wait.
    ///
    /// The directory must be there. The database is for its owner alone, and for one worker at a time.
    public init(directory: String, limits: DetachedLimits = DetachedLimits()) throws(JobStoreError) {
        path = directory.hasSuffix("/") ? directory + Self.fileName : directory + "/" + Self.fileName
        self.limits = limits
        do throws(SQLiteError) {
            database = try Database(path: path)
        } catch {
            throw .unusable(path: path, error)
        }
        cutShort = try Self.open(database)
    }

    /// Makes the changes since the last commit last. When this returns, they survive the end of the worker and of the machine.
    ///
    /// Throws what undid them. A commit without changes costs nothing.
    public func commit() throws(JobStoreError) {
        switch group {
        case .none: return
        case .failed(let error):
            group = .none
            throw error
        case .open:
            do throws(JobStoreError) {
                try change { () throws(SQLiteError) in
                    for id in tails.keys { try writeGathered(of: id) }
                    try database.run("COMMIT")
                }
            } catch {
                group = .none
                throw error
            }
            (group, committedTails) = (.none, tails)
        }
    }

    /// Does something of a group, and undoes all of it when that fails.
    func change<Result>(_ body: () throws(SQLiteError) -> Result) throws(JobStoreError) -> Result {
        if case .failed(let error) = group { throw error }
        do throws(SQLiteError) {
            if case .none = group { try database.run("BEGIN IMMEDIATE") }
            group = .open
            return try body()
        } catch {
            throw undo(error)
        }
    }

    private func undo(_ reason: SQLiteError) -> JobStoreError {
        var error = JobStoreError(reason, of: path)
        do throws(SQLiteError) {
            // SQLite may have done so itself.
            if database.isInTransaction { try database.run("ROLLBACK") }
        } catch let second {
            error = JobStoreError(second, of: path)
        }
        (group, tails) = (.failed(error), committedTails)
        return error
    }

    /// Reads something, committed or not.
    func reading<Result>(_ body: () throws(SQLiteError) -> Result) throws(JobStoreError) -> Result {
        try Self.translating(path, body)
    }
}
