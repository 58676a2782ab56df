// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// How much of detached jobs a worker keeps, and for how long.
public struct DetachedLimits: Sendable, Hashable {
    /// Jobs of one user, those that wait or run included.
    public var tenantJobs = 100_000
    /// Bytes of one user's jobs: what was submitted of those that wait or run, and all output and results.
    public var tenantBytes: UInt64 = 1 << 30
    /// How long an ended job is kept.
    public var time = Duration.seconds(7 * 24 * 3600)
    /// Bytes of output of one job. The store takes what it is given: the worker holds the job to this while it runs.
    public var output: UInt64 = 16 << 20

    /// The defaults.
    public init() {}
}

/// A job that is to be kept.
public struct NewJob: Sendable {
    /// The worker's number for it, above 0 and every number that the store has seen.
    public var id: UInt64
    /// Whose it is.
    public var tenant: Tenant
    /// Its idempotency key.
    public var key: String?
    /// Of what the user asked for, to tell the same submission from another one with this key.
    public var submissionDigest: ContentDigest
    /// Who goes first among this user's: 0...9, the highest.
    public var priority = JobPriority.normal
    /// For lists.
    public var title = ""
    /// The SUBMIT message as it came.
    public var submission: [UInt8] = []
    /// The image, or the layers in their order. Those that the store has of this user already are kept once.
    public var blobs: [Blob] = []
    /// All of its standard input.
    public var input: [UInt8] = []
    /// In seconds since 1970.
    public var acceptedAt: UInt64 = 0

    /// Bytes by their digest.
    public struct Blob: Sendable {
        /// SHA-256 of ``bytes``, which the store believes.
        public var digest: ContentDigest
        /// The content.
        public var bytes: [UInt8]

        /// Bytes by their digest.
        public init(digest: ContentDigest, bytes: [UInt8]) { (self.digest, self.bytes) = (digest, bytes) }
    }

    /// A job of which the rest is still to be said.
    public init(id: UInt64, tenant: Tenant, submissionDigest: ContentDigest) {
        (self.id, self.tenant, self.submissionDigest) = (id, tenant, submissionDigest)
    }
}

/// What became of a job that was to be kept.
public enum Addition: Sendable, Hashable {
    /// It is kept once the group is committed.
    case added
    /// The same submission, under the same key, is kept as this job.
    case repeated(id: UInt64)
    /// Another submission is kept under this key, as this job.
    case conflicting(id: UInt64)
    /// It has no room beside the user's jobs that have not ended.
    case full(Fullness)

    /// Which limit of a user was reached.
    public enum Fullness: Sendable, Hashable {
        /// ``DetachedLimits/tenantJobs``; that many have not ended.
        case jobs(limit: Int, unfinished: Int)
        /// ``DetachedLimits/tenantBytes``; that many bytes would be of jobs that have not ended.
        case bytes(limit: UInt64, needed: UInt64)
    }
}

/// A job as the store knows it.
public struct KeptJob: Sendable, Hashable {
    /// What is told to its user.
    public var job: DetachedJob
    /// Who goes first among this user's.
    public var priority: UInt8
    /// How many of its runs ended because the worker did.
    public var cuts: UInt32
}

/// What a job that has not ended is run with.
public struct StoredSubmission: Sendable, Hashable {
    /// The SUBMIT message as it came.
    public var payload: [UInt8]
    /// Image or layers in their order, by ``JobStore/blob(_:of:)``.
    public var blobs: [ContentDigest]
    /// All of its standard input.
    public var input: [UInt8]
}

/// What became of a job that was to be forgotten.
public enum Forgetting: Sendable, Hashable {
    /// It is gone.
    case forgotten
    /// There is no such job, or it is somebody else's.
    case unknown
    /// It has not ended.
    case unfinished
}

/// What one user's jobs take.
public struct StoreUsage: Sendable, Hashable {
    /// All jobs.
    public var jobs = 0
    /// Those of them that wait or run.
    public var unfinished = 0
    /// Bytes of submissions, input, images, output and results.
    public var bytes: UInt64 = 0
}

extension Tenant {
    /// The number in the tables.
    var number: Int64 {
        switch self {
        case .user(let user): Int64(user)
        case .unnamed: -1
        }
    }

    init(number: Int64) { self = UInt32(exactly: number).map { .user($0) } ?? .unnamed }
}
