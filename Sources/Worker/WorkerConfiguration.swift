// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
public import JobStore
public import KVM

/// What a worker is told when it starts.
public struct WorkerConfiguration: Sendable {
    /// Jobs that run at once, each in its own virtual machine on its own thread.
    public var slots: Int
    /// Which jobs may follow one another on the same virtual machine.
    public var machines: MachinePolicy
    /// Which jobs get a log record of their own at their end.
    public var jobLogging: JobLogging
    /// Bounds on what clients can make the worker hold.
    public var limits: WorkerLimits
    /// Name and version, told to clients.
    public var software: String
    /// For how long an idle slot and the event loop poll before they sleep, yielding to every other thread meanwhile; zero is not
    /// at all. It saves what it takes to wake up, some tens of microseconds for each job, and costs processor time when nothing
    /// goes on.
    public var spin = Duration.zero
    /// Users who may see and stop everybody's jobs, and the worker. Root and the worker's own user may always.
    public var operators: Set<UInt32> = []
    /// Where detached jobs are kept; nil where this worker keeps none. The worker takes it, for a thread of its own.
    public var store: Handover<JobStore>?

    /// Where jobs are kept that clients hand over; nil where none are.
    public var keeper: JobKeeper?

    /// A configuration.
    public init(
        slots: Int, machines: MachinePolicy = .pooled, jobLogging: JobLogging = .all,
        limits: WorkerLimits = WorkerLimits(), software: String = "kvmjob"
    ) {
        self.slots = slots
        self.machines = machines
        self.jobLogging = jobLogging
        self.limits = limits
        self.software = software
    }
}

/// Which jobs get a log record at their end. A record costs tens of microseconds of the log's own thread, and the event loop makes
/// it; a job that gets none costs nothing.
public enum JobLogging: String, Sendable, Hashable, CaseIterable {
    /// None.
    case none
    /// Those that did not end as `halted` or `exited` with code 0.
    case failures
    /// All.
    case all
}

/// Why a worker cannot start.
public enum WorkerStartError: Error, Sendable, Hashable, CustomStringConvertible {
    /// KVM is not usable here.
    case kvm(KVMError)
    /// A number of slots outside 1 to ``WorkerLimits/maximumSlots``.
    case slots(Int)

    /// What is wrong and what to do about it.
    public var description: String {
        switch self {
        case .kvm(let error): error.description
        case .slots(let count): "\(count) slots: a worker has 1 to \(WorkerLimits.maximumSlots)"
        }
    }
}

/// What a worker is doing.
public struct WorkerStatus: Sendable, Hashable {
    /// Jobs that can run at once.
    public var slots: Int
    /// Jobs that run.
    public var running: Int
    /// Jobs that wait.
    public var queued: Int
    /// Jobs that are paused.
    public var paused: Int
    /// Open connections.
    public var connections: Int
    /// Jobs that have ended since the start.
    public var finished: UInt64
    /// Those of them that did not end as `halted` or `exited` with code 0.
    public var failed: UInt64
    /// When the last connection and the last job went, as an instant of the monotonic clock; nil while there is one.
    public var idleSince: ContinuousClock.Instant?
    /// Whether it takes no more jobs.
    public var isDraining: Bool
}
