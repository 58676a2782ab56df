// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Asks the worker to take a job over: it goes on without the connection that it came by, survives the worker, and its output and
/// result are kept until they are forgotten.
public struct Detachment: Sendable, Hashable {
    /// The longest ``key``, in bytes of UTF-8.
    public static let keyLimit = 128

    /// A name that its user gives the job so that submitting it again means the same job (an idempotency key); nil for none. While the
    /// worker keeps the job, a second submission with the key is accepted as the first was, and brings nothing about.
    public var key: String?

    /// A job that is handed over.
    public init(key: String? = nil) { self.key = key }
}

/// What a client wants of a detached job.
public struct AttachRequest: Sendable, Hashable {
    /// The worker's number for the job, from ``Acceptance/id``.
    public var id: UInt64
    /// Which run ``offsets`` speak of; nil for whichever it is now.
    public var run: UInt32?
    /// How many bytes of each channel the client has already.
    public var offsets: [OutputChannel: UInt64] = [:]
    /// Whether output is wanted, or only the result.
    public var wantsOutput = true
    /// Whether to wait for what comes until the job ends, or to have only what is there.
    public var follows = true

    /// Everything of one job, until its end.
    public init(id: UInt64) { self.id = id }
}

/// Why a worker lets go of an attached client before the job's result. The raw values are the numbers on the wire.
public enum LeaveReason: UInt8, Sendable, Hashable, CaseIterable {
    /// The client asked for it.
    case asked = 1
    /// All that there is now was told, and the client did not want to follow.
    case told = 2
    /// The worker is shutting down. The job goes on with the next one.
    case drain = 3
    /// The job was forgotten meanwhile.
    case forgotten = 4
}

/// What a worker knows of one detached job.
public struct DetachedJob: Sendable, Hashable {
    /// Where it is. The raw values are the numbers on the wire.
    public enum State: UInt8, Sendable, Hashable, CaseIterable {
        /// Accepted; waits, or was cut short by the worker's end and waits to run again.
        case waiting = 1
        /// Runs in a slot.
        case running = 2
        /// Has its result.
        case ended = 3

        /// The name in JSON and on the screen.
        public var name: String {
            switch self {
            case .waiting: "waiting"
            case .running: "running"
            case .ended: "ended"
            }
        }
    }

    /// The worker's own number for it; no other detached job of this worker ever has it.
    public var id: UInt64
    /// Whose it is.
    public var tenant: Tenant
    /// Where it is.
    public var state: State
    /// How often it was started: more than once if the worker ended while it ran. The output of a run that was cut short is dropped.
    public var run: UInt32 = 0
    /// The number of its outcome on the wire, for one that has ended.
    public var outcome: UInt8?
    /// When it was accepted, in seconds since 1970.
    public var acceptedAt: UInt64 = 0
    /// When it ended, likewise.
    public var endedAt: UInt64?
    /// Bytes of output that are kept.
    public var outputBytes: UInt64 = 0
    /// Its label; of a program without one, the program's path. At most 128 bytes of UTF-8.
    public var title: String = ""
    /// Its idempotency key.
    public var key: String?

    /// A job of which the rest is still to be said.
    public init(id: UInt64, tenant: Tenant, state: State) { (self.id, self.tenant, self.state) = (id, tenant, state) }
}
