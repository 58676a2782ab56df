// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import SQLite

extension JobStore {
    /// A waiting job begins to run. Returns the number of the run, counted from 1; nil if it does not wait.
    public func noteStart(_ id: UInt64) throws(JobStoreError) -> UInt32? {
        try change { () throws(SQLiteError) in
            let text = "UPDATE job SET state = 2, run = run + 1 WHERE id = ? AND state = 1 RETURNING run"
            let run = try database.first(text, .integer(id.row)) { row in row.integer(0) }
            guard let run else { return nil }
            tails[id] = OutputTail()
            return UInt32(clamping: run)
        }
    }

    /// Adds to the output of a running job. It can be read when the group is committed, or earlier. False if the job does not run.
    @discardableResult
    public func append(_ id: UInt64, _ channel: OutputChannel, _ bytes: [UInt8]) throws(JobStoreError) -> Bool {
        try change { () throws(SQLiteError) in
            guard tails[id] != nil else { return false }
            var rest = bytes[...]
            while !rest.isEmpty {
                let taken = tails[id]?.gather(rest, of: channel) ?? rest.count
                rest = rest.dropFirst(taken)
                if !rest.isEmpty { try writeGathered(of: id) }
            }
            return true
        }
    }

    /// Makes a row of what gathered.
    func writeGathered(of id: UInt64) throws(SQLiteError) {
        guard let row = tails[id]?.takeRow() else { return }
        try database.run(
            "INSERT INTO output VALUES (?, ?, ?, ?, ?)", .integer(id.row), .integer(row.sequence),
            .integer(Int64(row.channel.rawValue)), .integer(Int64(clamping: row.start)), .bytes(row.bytes))
        try database.run(
            "UPDATE job SET output_bytes = output_bytes + ?1, bytes = bytes + ?1 WHERE id = ?2",
            .integer(Int64(row.bytes.count)), .integer(id.row))
    }

    /// A job has ended, whether it ran or waited. Its submission, input and images go; its output and result stay, and those of the
    /// user's jobs that ended first go where they are too many now. False if there is no such job, or it has ended already.
    ///
    /// - Parameters:
    ///   - result: the RESULT message.
    ///   - time: in seconds since 1970.
    @discardableResult
    public func finish(
        _ id: UInt64, outcome: UInt8, result: [UInt8], at time: UInt64
    ) throws(JobStoreError) -> Bool {
        try change { () throws(SQLiteError) in
            try writeGathered(of: id)
            tails[id] = nil
            let text = """
                UPDATE job SET state = 3, outcome = ?2, ended_at = ?3, bytes = output_bytes + ?4
                WHERE id = ?1 AND state < 3 RETURNING user
                """
            let user = try database.first(
                text, .integer(id.row), .integer(Int64(outcome)), .integer(Int64(clamping: time)),
                .integer(Int64(result.count))
            ) { row in row.integer(0) }
            guard let user else { return false }
            try database.run(
                "UPDATE content SET submission = x'', input = x'', result = ? WHERE job = ?", .bytes(result),
                .integer(id.row))
            try database.run("DELETE FROM job_blob WHERE job = ?", .integer(id.row))
            try makeRoom(for: Tenant(number: user), sparing: id.row)
            return true
        }
    }

    /// A running job was interrupted in good order, as the worker ends: it waits again, without the output of this run, which does not
    /// count as cut short. False if it does not run.
    @discardableResult
    public func putBack(_ id: UInt64) throws(JobStoreError) -> Bool {
        try change { () throws(SQLiteError) in
            guard tails.removeValue(forKey: id) != nil else { return false }
            try Self.putBack(id.row, in: database)
            return true
        }
    }

    /// Takes back a job that was added and could not be admitted after all. Its number is not given again.
    public func remove(_ id: UInt64) throws(JobStoreError) {
        try change { () throws(SQLiteError) in try delete(id.row) }
    }

    /// Forgets jobs that have ended: of this user, or of anybody for nil. One answer each.
    public func forget(_ ids: [UInt64], of tenant: Tenant?) throws(JobStoreError) -> [Forgetting] {
        try change { () throws(SQLiteError) in
            var answers: [Forgetting] = []
            for id in ids { answers.append(try forget(id.row, of: tenant)) }
            return answers
        }
    }

    private func forget(_ id: Int64, of tenant: Tenant?) throws(SQLiteError) -> Forgetting {
        let query = "SELECT state FROM job WHERE id = ? AND user = ifnull(?, user)"
        let state = try database.first(query, .integer(id), .number(of: tenant)) { row in row.integer(0) }
        guard let state else { return .unknown }
        guard state == DetachedJob.State.ended.rawValue else { return .unfinished }
        try delete(id)
        return .forgotten
    }

    /// How many jobs ``expire(now:)`` forgets at once, so that others have their turn.
    public static let expiredAtOnce = 256

    /// Forgets jobs that ended too long ago, at most ``expiredAtOnce``, and gives back a part of the file that nothing needs any
    /// more. Returns how many went; after as many as may be, there may be more.
    ///
    /// - Parameter now: in seconds since 1970.
    public func expire(now: UInt64) throws(JobStoreError) -> Int {
        try change { () throws(SQLiteError) in
            let age = UInt64(clamping: limits.time.components.seconds)
            guard now >= age else { return 0 }
            let query = """
                SELECT id FROM job WHERE state = 3 AND ended_at <= ? ORDER BY ended_at LIMIT \(Self.expiredAtOnce)
                """
            let expired = try database.all(query, .integer(Int64(clamping: now - age))) { row in row.integer(0) }
            for id in expired { try delete(id) }
            try shrink()
            return expired.count
        }
    }

    /// Pages of 4 KiB that the file may have free, besides a quarter of it; and how many of the others are given back at once.
    private static let sparePages: Int64 = 1024, shrinkAtOnce = 1024

    private func shrink() throws(SQLiteError) {
        let free = try database.first("PRAGMA freelist_count") { row in row.integer(0) } ?? 0
        let all = try database.first("PRAGMA page_count") { row in row.integer(0) } ?? 0
        guard free > Self.sparePages + all / 4 else { return }
        try database.run("PRAGMA incremental_vacuum(\(Self.shrinkAtOnce))")
    }
}
