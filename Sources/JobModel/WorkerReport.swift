// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a worker tells of itself to whoever asks.
public struct WorkerReport: Sendable, Hashable {
    /// Name and version of the program. At most 128 bytes of UTF-8 are sent.
    public var software = ""
    /// How this machine runs guests, for people, such as "KVM 12, software (PVM)". At most 128 bytes of UTF-8 are sent.
    public var backend = ""
    /// Nanoseconds since it started.
    public var uptimeNanoseconds: UInt64 = 0
    /// Jobs that can run at once.
    public var slots: UInt32 = 0
    /// Jobs that run.
    public var running: UInt32 = 0
    /// Jobs that wait for a slot.
    public var queued: UInt32 = 0
    /// Jobs that are paused.
    public var paused: UInt32 = 0
    /// Open connections.
    public var connections: UInt32 = 0
    /// Tenants that have jobs or connections.
    public var tenants: UInt32 = 0
    /// Bytes of host memory that running jobs may take together.
    public var memoryLimit: UInt64 = 0
    /// Bytes of host memory that those may take which have been admitted to the slots.
    public var memoryBytes: UInt64 = 0
    /// Jobs that have ended since the start.
    public var finished: UInt64 = 0
    /// Those of them that did not end as `halted`, as `exited` with code 0, or as a snapshot.
    public var failed: UInt64 = 0
    /// Whether it takes no more jobs.
    public var isDraining = false
    /// Whether the one who asked may see and stop everybody's jobs.
    public var isOperator = false
    /// What the worker has given up for its own safety.
    public var confinement: Confinement = []

    /// A report that says nothing yet.
    public init() {}
}

/// How a worker's process has narrowed what it can do. The raw value is the number on the wire.
public struct Confinement: OptionSet, Sendable, Hashable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public let rawValue: UInt8

    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// System calls are those of its steady state: seccomp(2).
    public static let systemCalls = Confinement(rawValue: 1)
    /// Files and the network are out of reach: landlock(7).
    public static let files = Confinement(rawValue: 2)
}

/// Whose jobs are counted together: a user, as the kernel names the peer of a connection (`SO_PEERCRED`).
public enum Tenant: Sendable, Hashable, Comparable {
    /// A user by number.
    case user(UInt32)
    /// All whose user the kernel cannot name.
    case unnamed

    /// Users by number, those without one last.
    public static func < (left: Tenant, right: Tenant) -> Bool {
        switch (left, right) {
        case (.user(let one), .user(let two)): one < two
        case (.user, .unnamed): true
        case (.unnamed, _): false
        }
    }
}

/// What one tenant has in a worker, and has had.
public struct TenantReport: Sendable, Hashable {
    /// Whose it is.
    public var tenant: Tenant
    /// Open connections.
    public var connections: UInt32 = 0
    /// Jobs that wait for a slot.
    public var queued: UInt32 = 0
    /// Jobs that run.
    public var running: UInt32 = 0
    /// Jobs that are paused.
    public var paused: UInt32 = 0
    /// Bytes of host memory that its jobs in the slots may take.
    public var memoryBytes: UInt64 = 0
    /// Bytes in flight: of images on their way, and what its waiting jobs keep in memory.
    public var bytesInFlight: UInt64 = 0
    /// Bytes of its images, and of what its jobs start from, that are kept for later jobs.
    public var keptBytes: UInt64 = 0
    /// Nanoseconds that its jobs have had slots, since it was last away: what slots are shared by.
    public var slotNanoseconds: UInt64 = 0
    /// Jobs that have ended.
    public var finished: UInt64 = 0
    /// Those of them that failed.
    public var failed: UInt64 = 0
    /// Submissions that were refused.
    public var refused: UInt64 = 0

    /// A tenant that has nothing.
    public init(_ tenant: Tenant) { self.tenant = tenant }
}

/// One accepted job that has not ended, as a list of jobs shows it.
public struct ListedJob: Sendable, Hashable {
    /// Where a job is. The raw values are the numbers on the wire.
    public enum State: UInt8, Sendable, Hashable, CaseIterable {
        /// Waits for a slot.
        case queued = 1
        /// Runs in a slot.
        case running = 2
        /// Its steps are used up, and it may be given more.
        case paused = 3
        /// Has ended; its result waits until the client takes the output in front of it.
        case ended = 4

        /// The name in JSON and on the screen.
        public var name: String {
            switch self {
            case .queued: "queued"
            case .running: "running"
            case .paused: "paused"
            case .ended: "ended"
            }
        }
    }

    /// The worker's own number for it: in its log as `KVMJOB_ID`, and what `kvmjob cancel` takes.
    public var id: UInt64
    /// Whose it is.
    public var tenant: Tenant
    /// The client's process, where the kernel tells.
    public var process: UInt32?
    /// Where it is.
    public var state: State
    /// How its vCPU started.
    public var mode: GuestMode
    /// Its place among the jobs of its tenant, 0 to 9.
    public var priority: UInt8 = JobPriority.normal
    /// Bytes of guest memory.
    public var memoryBytes: UInt64 = 0
    /// Nanoseconds that it has waited for a slot, or waited until it started.
    public var queueNanoseconds: UInt64 = 0
    /// Nanoseconds since it started; nil for one that has not.
    public var runNanoseconds: UInt64?
    /// Its label; of a program without one, the program's path. At most 128 bytes of UTF-8.
    public var title: String = ""

    /// A job of which the rest is still to be said.
    public init(id: UInt64, tenant: Tenant, state: State, mode: GuestMode) {
        (self.id, self.tenant, self.state, self.mode) = (id, tenant, state, mode)
    }
}

/// What decides which of a tenant's own waiting jobs goes first. It says nothing about the jobs of others.
public enum JobPriority {
    /// The highest number goes first.
    public static let range: ClosedRange<UInt8> = 0...9
    /// Of a job whose submitter names none.
    public static let normal: UInt8 = 5
}
