// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import SQLite

extension JobStore {
    /// The write-ahead log is cut to this many bytes after a commit has made it larger.
    static let logBytes = 16 << 20

    /// Makes a database that was just opened ours: its locks, its tables, and one write, after which SQLite has opened all that it
    /// ever will. Returns the jobs that ran.
    static func open(_ database: Database) throws(JobStoreError) -> [UInt64] {
        let path = database.path
        try translating(path) { () throws(SQLiteError) in try configure(database) }
        let found = try translating(path) { () throws(SQLiteError) in try Origin(of: database) }
        try found.check(path)
        return try translating(path) { () throws(SQLiteError) in
            try useLog(of: database)
            try database.run("BEGIN IMMEDIATE")
            for step in Schema.steps[Int(found.version)...] { try database.run(step) }
            try database.run("PRAGMA application_id = \(Schema.application); PRAGMA user_version = \(Schema.version)")
            let jobs = try takeBackRunning(database)
            try database.run("COMMIT")
            return jobs
        }
    }

    static func translating<Result>(
        _ path: String, _ body: () throws(SQLiteError) -> Result
    ) throws(JobStoreError) -> Result {
        do throws(SQLiteError) {
            return try body()
        } catch {
            throw JobStoreError(error, of: path)
        }
    }

    /// Exclusive locking goes first: it keeps the log's index in memory of this process, and the locks for good.
    private static func configure(_ database: Database) throws(SQLiteError) {
        try database.distrustFile()
        try database.leaveLogWhenClosing()
        try database.run("PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON")
    }

    /// Only once the file is known to be ours, for this writes. A commit flushes the log (`synchronous = FULL`).
    private static func useLog(of database: Database) throws(SQLiteError) {
        try database.run(
            """
            PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
            PRAGMA journal_size_limit = \(logBytes)
            """)
    }

    /// Counts the start, and puts the jobs that ran among those that wait.
    private static func takeBackRunning(_ database: Database) throws(SQLiteError) -> [UInt64] {
        try database.run("UPDATE worker SET starts = starts + 1")
        let jobs = try database.all("SELECT id FROM job WHERE state = 2 ORDER BY id") { row in row.integer(0) }
        for id in jobs {
            try database.run("UPDATE job SET cuts = cuts + 1 WHERE id = ?", .integer(id))
            try putBack(id, in: database)
        }
        return jobs.map { UInt64(clamping: $0) }
    }

    /// Makes a running job wait, without the output of its run.
    static func putBack(_ id: Int64, in database: Database) throws(SQLiteError) {
        try database.run("DELETE FROM output WHERE job = ?", .integer(id))
        try database.run(
            "UPDATE job SET state = 1, bytes = bytes - output_bytes, output_bytes = 0 WHERE id = ?", .integer(id))
    }
}

/// Who wrote a database.
private struct Origin {
    var application: Int64
    var version: Int64
    var isEmpty: Bool

    init(of database: Database) throws(SQLiteError) {
        func number(_ query: String) throws(SQLiteError) -> Int64 {
            try database.first(query) { row in row.integer(0) } ?? 0
        }
        application = try number("PRAGMA application_id")
        version = try number("PRAGMA user_version")
        isEmpty = try number("SELECT count(*) FROM sqlite_schema") == 0
    }

    func check(_ path: String) throws(JobStoreError) {
        guard application == Schema.application || (isEmpty && application == 0 && version == 0) else {
            throw .foreign(path: path)
        }
        guard (0...Schema.version).contains(version) else {
            throw .newer(path: path, version: version, known: Schema.version)
        }
    }
}
