// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import SQLite

extension JobStore {
    /// The largest number that a job ever had here, one that is forgotten included; 0 before the first.
    public func highestID() throws(JobStoreError) -> UInt64 {
        try reading { () throws(SQLiteError) in
            UInt64(clamping: try database.first("SELECT highest_id FROM worker") { row in row.integer(0) } ?? 0)
        }
    }

    /// How many jobs of a user wait or run.
    public func unfinishedCount(of tenant: Tenant) throws(JobStoreError) -> Int {
        try reading { () throws(SQLiteError) in try account(of: tenant).unfinished }
    }

    /// What the jobs of a user take; of all users for nil.
    public func usage(of tenant: Tenant?) throws(JobStoreError) -> StoreUsage {
        try reading { () throws(SQLiteError) in
            let query = "SELECT total(jobs), total(unfinished), total(bytes) FROM tenant WHERE user = ifnull(?, user)"
            return try database.first(query, .number(of: tenant)) { row in
                StoreUsage(
                    jobs: Int(row.integer(0)), unfinished: Int(row.integer(1)), bytes: UInt64(clamping: row.integer(2)))
            } ?? StoreUsage()
        }
    }

    /// The users who have jobs that wait, those without a name last.
    public func tenantsWaiting() throws(JobStoreError) -> [Tenant] {
        try reading { () throws(SQLiteError) in
            try database.all("SELECT user FROM tenant WHERE waiting > 0") { row in Tenant(number: row.integer(0)) }
                .sorted()
        }
    }

    /// The jobs of a user that go next, the first of the highest priority first.
    ///
    /// - Parameter fed: jobs that still wait here, but are in somebody's hands already.
    public func nextWaiting(
        of tenant: Tenant, limit: Int, excluding fed: Set<UInt64> = []
    ) throws(JobStoreError) -> [KeptJob] {
        try reading { () throws(SQLiteError) in
            var next: [KeptJob] = []
            guard limit > 0 else { return next }
            let query = """
                SELECT \(KeptJob.columns) FROM job WHERE state = 1 AND user = ? AND cuts < \(Self.cutLimit)
                ORDER BY priority DESC, id
                """
            try database.each(query, .integer(tenant.number)) { row in
                if !fed.contains(UInt64(clamping: row.integer(0))) { next.append(KeptJob(row)) }
                return next.count < limit
            }
            return next
        }
    }

    /// The jobs that wait, but that the end of the worker has cut short ``cutLimit`` times: they are never next, and all that is
    /// left for them is ``finish(_:outcome:result:at:)``.
    public func worn() throws(JobStoreError) -> [KeptJob] {
        try reading { () throws(SQLiteError) in
            try database.all(
                "SELECT \(KeptJob.columns) FROM job WHERE state = 1 AND cuts >= \(Self.cutLimit) ORDER BY id"
            ) { row in KeptJob(row) }
        }
    }

    /// What is known of a job; nil where there is none of this number.
    public func job(_ id: UInt64) throws(JobStoreError) -> KeptJob? {
        try reading { () throws(SQLiteError) in
            let query = "SELECT \(KeptJob.columns) FROM job WHERE id = ?"
            return try database.first(query, .integer(id.row)) { row in KeptJob(row) }
        }
    }

    /// The jobs of a user, or of all for nil, by number, from behind a number on.
    public func list(
        _ tenant: Tenant?, after id: UInt64 = 0, limit: Int
    ) throws(JobStoreError) -> [DetachedJob] {
        try reading { () throws(SQLiteError) in
            guard let tenant else {
                let query = "SELECT \(KeptJob.columns) FROM job WHERE id > ? ORDER BY id LIMIT ?"
                return try database.all(query, .integer(id.row), .integer(Int64(limit))) { row in KeptJob(row).job }
            }
            let query = "SELECT \(KeptJob.columns) FROM job WHERE user = ? AND id > ? ORDER BY id LIMIT ?"
            return try database.all(query, .integer(tenant.number), .integer(id.row), .integer(Int64(limit))) { row in
                KeptJob(row).job
            }
        }
    }

    /// What a job is run with; nil where there is no such job. One that has ended has no content any more.
    public func submission(of id: UInt64) throws(JobStoreError) -> StoredSubmission? {
        try reading { () throws(SQLiteError) in
            let query = """
                SELECT digest FROM job_blob JOIN blob ON blob.id = job_blob.blob WHERE job_blob.job = ? ORDER BY position
                """
            let blobs = try database.all(query, .integer(id.row)) { row in ContentDigest(row.bytes(0)) }
            return try database.first("SELECT submission, input FROM content WHERE job = ?", .integer(id.row)) { row in
                StoredSubmission(payload: row.bytes(0), blobs: blobs.compactMap { $0 }, input: row.bytes(1))
            }
        }
    }

    /// An image or a layer of a user's jobs; nil where none that has not ended has it.
    public func blob(_ digest: ContentDigest, of tenant: Tenant) throws(JobStoreError) -> [UInt8]? {
        try reading { () throws(SQLiteError) in
            let query = "SELECT bytes FROM blob WHERE user = ? AND digest = ?"
            return try database.first(query, .integer(tenant.number), .bytes(digest.bytes)) { row in row.bytes(0) }
        }
    }

    /// The RESULT message of a job that has ended; nil for any other.
    public func result(of id: UInt64) throws(JobStoreError) -> [UInt8]? {
        try reading { () throws(SQLiteError) in
            let query = "SELECT result FROM content JOIN job ON job.id = content.job WHERE job.id = ? AND state = 3"
            return try database.first(query, .integer(id.row)) { row in row.bytes(0) }
        }
    }
}

extension KeptJob {
    static let columns =
        "id, user, state, priority, run, cuts, title, key, accepted_at, ended_at, outcome, output_bytes"

    /// A row of these columns.
    fileprivate init(_ row: borrowing Row) {
        let state = DetachedJob.State(rawValue: UInt8(clamping: row.integer(2))) ?? .waiting
        var job = DetachedJob(
            id: UInt64(clamping: row.integer(0)), tenant: Tenant(number: row.integer(1)), state: state)
        job.run = UInt32(clamping: row.integer(4))
        (job.title, job.key) = (row.text(6) ?? "", row.text(7))
        job.acceptedAt = UInt64(clamping: row.integer(8))
        job.endedAt = row.isNull(9) ? nil : UInt64(clamping: row.integer(9))
        job.outcome = row.isNull(10) ? nil : UInt8(clamping: row.integer(10))
        job.outputBytes = UInt64(clamping: row.integer(11))
        self.init(job: job, priority: UInt8(clamping: row.integer(3)), cuts: UInt32(clamping: row.integer(5)))
    }
}
