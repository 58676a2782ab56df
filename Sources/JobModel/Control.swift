// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a worker can be asked. Users see what is theirs; operators see everything.
public enum Query: Sendable, Hashable {
    /// How the worker is doing.
    case worker
    /// Who has something in it; of more than an answer holds, those above this one.
    case tenants(after: Tenant?)
    /// Which jobs there are, by rising id; of more than an answer holds, those above this one.
    case jobs(after: UInt64?)
    /// What it has counted.
    case counters
    /// Which detached jobs there are, by rising id; of more than an answer holds, those above this one.
    case detached(after: UInt64?)
}

/// What a worker answers to a ``Query``.
public enum Answer: Sendable, Hashable {
    /// The most tenants, jobs or detached jobs in one answer.
    public static let recordLimit = 256

    /// To ``Query/worker``.
    case worker(WorkerReport)
    /// To ``Query/tenants(after:)``; `more` says that there are others above the last.
    case tenants([TenantReport], more: Bool)
    /// To ``Query/jobs(after:)``, likewise.
    case jobs([ListedJob], more: Bool)
    /// To ``Query/counters``.
    case counters(CounterReport)
    /// To ``Query/detached(after:)``; `more` as above.
    case detached([DetachedJob], more: Bool)
}

/// What a worker can be told to stop, or to stop doing.
public enum StopRequest: Sendable, Hashable {
    /// The most jobs that one request names.
    public static let jobLimit = 512

    /// These jobs, by the worker's ids.
    case jobs([UInt64])
    /// The worker: it takes no more jobs, ends those that it has, and leaves. For operators.
    case worker
    /// Keeping these detached jobs, which have ended: they are forgotten.
    case keeping([UInt64])
}

/// What became of a ``StopRequest``.
public enum StopAnswer: Sendable, Hashable {
    /// What became of one job's. The raw values are the numbers on the wire.
    public enum JobAnswer: UInt8, Sendable, Hashable, CaseIterable {
        /// It is told to stop, and its result goes to its client as usual; of ``StopRequest/keeping(_:)``, it is forgotten.
        case stopped = 1
        /// There is no such job that has not ended, or none of this user's; of ``StopRequest/keeping(_:)``, no such detached job.
        case unknown = 2
        /// Only of ``StopRequest/keeping(_:)``: it has not ended, and is kept.
        case unfinished = 3
    }

    /// For each job of the request, in its order.
    case jobs([JobAnswer])
    /// Whether the worker drains now; if not, the one who asked is no operator.
    case worker(drains: Bool)
    /// For each detached job of the request, in its order.
    case keeping([JobAnswer])
}

/// What a worker says of a job that it has accepted.
public struct Acceptance: Sendable, Hashable {
    /// The worker's own number for it, as in ``ListedJob/id``.
    public var id: UInt64?
    /// Jobs that are likely to start before it, as far as can be told now; 0 means that it is next.
    public var queuePosition: UInt32?
    /// An estimate of the nanoseconds until it starts, from how long jobs took lately; nil where nothing is known.
    public var waitNanoseconds: UInt64?
    /// Of a detached job: whether it had been accepted before, under the same key.
    public var isRepeated = false

    /// What is said.
    public init(id: UInt64? = nil, queuePosition: UInt32? = nil, waitNanoseconds: UInt64? = nil) {
        (self.id, self.queuePosition, self.waitNanoseconds) = (id, queuePosition, waitNanoseconds)
    }
}
