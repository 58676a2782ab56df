// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import SQLite

extension JobStore {
    /// Keeps a job, which waits. Where its user's limits are reached, the jobs of this user that ended first make room.
    public func add(_ job: NewJob) throws(JobStoreError) -> Addition {
        try change { () throws(SQLiteError) in
            if let earlier = try earlier(job) { return earlier }
            if let fullness = try fullness(with: job) { return .full(fullness) }
            try insert(job)
            try makeRoom(for: job.tenant)
            return .added
        }
    }

    /// The job that has the key already.
    private func earlier(_ job: NewJob) throws(SQLiteError) -> Addition? {
        guard let key = job.key else { return nil }
        let query = "SELECT id, submission_digest FROM job WHERE user = ? AND key = ?"
        return try database.first(query, .integer(job.tenant.number), .text(key)) { row in
            let id = UInt64(clamping: row.integer(0))
            return row.bytes(1) == job.submissionDigest.bytes ? .repeated(id: id) : .conflicting(id: id)
        }
    }

    /// The limit that would be crossed even if all jobs were forgotten that have ended, which have no images any more.
    private func fullness(with job: NewJob) throws(SQLiteError) -> Addition.Fullness? {
        let usage = try account(of: job.tenant)
        guard usage.unfinished < limits.tenantJobs else {
            return .jobs(limit: limits.tenantJobs, unfinished: usage.unfinished)
        }
        var needed = usage.heldBytes + UInt64(job.ownBytes)
        var counted: Set<ContentDigest> = []
        for blob in job.blobs where counted.insert(blob.digest).inserted {
            if try row(of: blob.digest, job.tenant) == nil { needed += UInt64(blob.bytes.count) }
        }
        return needed > limits.tenantBytes ? .bytes(limit: limits.tenantBytes, needed: needed) : nil
    }

    private func insert(_ job: NewJob) throws(SQLiteError) {
        try database.run("UPDATE worker SET highest_id = max(highest_id, ?)", .integer(job.id.row))
        try database.run(
            """
            INSERT INTO job (id, user, state, priority, title, key, submission_digest, accepted_at, bytes)
            VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?)
            """,
            .integer(job.id.row), .integer(job.tenant.number), .integer(Int64(job.priority)), .text(job.title),
            .text(job.key), .bytes(job.submissionDigest.bytes), .integer(Int64(clamping: job.acceptedAt)),
            .integer(Int64(job.ownBytes)))
        try database.run(
            "INSERT INTO content VALUES (?, ?, ?, x'')", .integer(job.id.row), .bytes(job.submission),
            .bytes(job.input))
        for (position, blob) in job.blobs.enumerated() {
            try database.run(
                "INSERT INTO job_blob VALUES (?, ?, ?)", .integer(job.id.row), .integer(Int64(position)),
                .integer(try keep(blob, job.tenant)))
        }
    }

    /// The row of a blob, which is made where this user has none.
    private func keep(_ blob: NewJob.Blob, _ tenant: Tenant) throws(SQLiteError) -> Int64 {
        if let row = try row(of: blob.digest, tenant) { return row }
        let text = "INSERT INTO blob (user, digest, size, bytes) VALUES (?, ?, ?, ?) RETURNING id"
        let row = try database.first(
            text, .integer(tenant.number), .bytes(blob.digest.bytes), .integer(Int64(blob.bytes.count)),
            .bytes(blob.bytes)
        ) { row in row.integer(0) }
        return row ?? 0
    }

    private func row(of digest: ContentDigest, _ tenant: Tenant) throws(SQLiteError) -> Int64? {
        let query = "SELECT id FROM blob WHERE user = ? AND digest = ?"
        return try database.first(query, .integer(tenant.number), .bytes(digest.bytes)) { row in row.integer(0) }
    }

    /// Forgets what ended first, until the rest is within the limits or there is nothing else that has ended.
    func makeRoom(for tenant: Tenant, sparing newest: Int64 = 0) throws(SQLiteError) {
        let oldest = "SELECT id FROM job WHERE user = ? AND state = 3 AND id != ? ORDER BY ended_at, id LIMIT 1"
        while true {
            let usage = try account(of: tenant)
            guard usage.jobs > limits.tenantJobs || usage.bytes > limits.tenantBytes else { return }
            let first = try database.first(oldest, .integer(tenant.number), .integer(newest)) { row in row.integer(0) }
            guard let first else { return }
            try delete(first)
        }
    }

    func delete(_ id: Int64) throws(SQLiteError) {
        try database.run("DELETE FROM job WHERE id = ?", .integer(id))
        tails[UInt64(clamping: id)] = nil
    }

    /// What the triggers counted.
    func account(of tenant: Tenant) throws(SQLiteError) -> Account {
        let query = "SELECT jobs, unfinished, bytes, ended_bytes FROM tenant WHERE user = ?"
        let found = try database.first(query, .integer(tenant.number)) { row in Account(row) }
        return found ?? Account()
    }

    struct Account {
        var jobs = 0
        var unfinished = 0
        var bytes: UInt64 = 0
        /// Bytes that no forgetting gives back, before the jobs that need them end.
        var heldBytes: UInt64 = 0

        init() {}

        init(_ row: borrowing Row) {
            (jobs, unfinished) = (Int(row.integer(0)), Int(row.integer(1)))
            (bytes, heldBytes) = (UInt64(clamping: row.integer(2)), UInt64(clamping: row.integer(2) - row.integer(3)))
        }
    }
}

extension NewJob {
    /// Bytes that are kept for it alone.
    fileprivate var ownBytes: Int { submission.count + input.count }
}

extension Value {
    /// A user's number in the tables; no value for nil, which means all.
    static func number(of tenant: Tenant?) -> Value { tenant.map { .integer($0.number) } ?? .text(nil) }
}

extension UInt64 {
    /// A job's number in the tables, which no job has that is beyond them.
    var row: Int64 { Int64(clamping: self) }
}
