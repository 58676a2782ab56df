// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import SQLite

/// Why kept jobs cannot be had, or what was to be kept was not.
public enum JobStoreError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The file cannot be opened or made.
    case unusable(path: String, SQLiteError)
    /// Another worker has it.
    case inUse(path: String)
    /// It is a database, but not of kept jobs.
    case foreign(path: String)
    /// A later release has written it.
    case newer(path: String, version: Int64, known: Int64)
    /// It is no database, or it contradicts itself.
    case damaged(path: String, SQLiteError)
    /// The file system has no room for more, or fails to write. What was committed is safe; it may go better later.
    case noRoom(path: String, SQLiteError)
    /// Anything else.
    case failed(path: String, SQLiteError)

    /// What SQLite said of this file.
    init(_ error: SQLiteError, of path: String) {
        self =
            if error.isBusy {
                .inUse(path: path)
            } else if error.isDamage {
                .damaged(path: path, error)
            } else if error.isLackOfRoom {
                .noRoom(path: path, error)
            } else {
                .failed(path: path, error)
            }
    }

    /// What is wrong and what would be right.
    public var description: String {
        switch self {
        case .unusable(let path, let error): "cannot open \(path): \(error.text)"
        case .inUse(let path): "another worker keeps its jobs in \(path): give this one a state directory of its own"
        case .foreign(let path):
            "\(path) holds no jobs but something else: give the worker a state directory of its own"
        case .newer(let path, let version, let known):
            """
            a later release has written \(path) (version \(version) of its tables; this release knows \(known)): install \
            that release again, or move the file aside
            """
        case .damaged(let path, let error):
            """
            \(path) is damaged: \(error.text). Move it and what stands beside it (\(path)-wal) aside, where .recover of sqlite3 \
            may still read jobs from them, and start the worker again; it then begins without any
            """
        case .noRoom(let path, let error): "cannot write \(path): \(error.text)"
        case .failed(let path, let error): "\(path): \(error)"
        }
    }
}
