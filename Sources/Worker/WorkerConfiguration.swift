// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
public import JobProtocol
public import JobScheduling
public import KVM
public import VMRuntime

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

/// Bounds on what clients can make the worker hold.
public struct WorkerLimits: Sendable, Hashable {
    /// The most slots of one worker: each takes a thread.
    public static let maximumSlots = 128

    /// Connections at once; the next one is told so and closed.
    public var connections: Int
    /// Jobs in flight on one connection.
    public var jobsPerConnection: UInt32
    /// Jobs that wait for a slot.
    public var queuedJobs: Int
    /// Bytes that jobs which wait for a slot keep in memory. What several start from alike counts once; of what a snapshot holds
    /// nothing counts, since ``snapshotBytes`` bounds that.
    public var queuedImageBytes: Int
    /// Announced bytes of images that are still arriving, over all connections.
    public var uploadBytes: Int
    /// Bytes of one image.
    public var imageBytes: UInt64
    /// Bytes of images that are kept for users who may submit them again; 0 keeps none. See ``knownImages``.
    public var knownImageBytes: Int
    /// Images that are kept for users who may submit them again, each as often as there are users who submitted it.
    public var knownImages: Int
    /// Bytes of the files in programs' layers that are kept beside the layers themselves, so that those need not be read again.
    public var fileTreeBytes: Int
    /// Bytes of what jobs started from that are kept for jobs which may start so again.
    public var startingPointBytes: Int
    /// As ``startingPointBytes``, their number.
    public var startingPoints: Int
    /// Bytes of one guest's memory.
    public var memoryBytes: UInt64
    /// Wall-time budget of one job.
    public var wallTime: Duration
    /// How long a paused job's machine is kept for an extension; then the job ends.
    public var pauseTime: Duration
    /// Machines that are kept at once for jobs that are paused, or wait for a slot to go on in. A job that would be one more ends
    /// where it would be paused.
    public var pausedJobs: Int
    /// As ``pausedJobs``, of one connection.
    public var pausedJobsPerConnection: Int
    /// As ``pausedJobs``, bytes of guest memory of all those machines.
    public var pausedMemoryBytes: UInt64
    /// Machines that each slot keeps for later jobs.
    public var keptMachinesPerSlot: Int
    /// Bytes of guest memory of all those machines. Each slot has an equal share of it, so that none can use up another's.
    public var keptMemoryBytes: UInt64
    /// Bytes of host memory that all snapshots together may take. One alone may take as much.
    public var snapshotBytes: UInt64
    /// The most snapshots that are kept.
    public var snapshots: Int

    /// How long a paused job's machine is kept unless the worker is told otherwise: 30 s.
    public static let defaultPauseTime = Duration.seconds(30)

    /// The usual bounds.
    public init(
        connections: Int = 4096, jobsPerConnection: UInt32 = WorkerTerms.defaultJobLimit,
        queuedJobs: Int = Scheduler.defaultQueueLimit, queuedImageBytes: Int = Scheduler.defaultWaitingBytesLimit,
        uploadBytes: Int = 512 << 20,
        imageBytes: UInt64 = WorkerTerms.defaultImageLimit, memoryBytes: UInt64 = WorkerTerms.defaultMemoryMaximum,
        wallTime: Duration = WorkerTerms.defaultWallMaximum, pauseTime: Duration = WorkerLimits.defaultPauseTime,
        pausedJobs: Int = 64, pausedJobsPerConnection: Int = 16, pausedMemoryBytes: UInt64 = 1 << 30,
        keptMachinesPerSlot: Int = MachineKeeping.defaultMachinesPerSlot, keptMemoryBytes: UInt64 = 2 << 30,
        knownImageBytes: Int = 256 << 20, knownImages: Int = 1024, fileTreeBytes: Int = 256 << 20,
        startingPointBytes: Int = 256 << 20, startingPoints: Int = 1024, snapshotBytes: UInt64 = 512 << 20,
        snapshots: Int = 256
    ) {
        self.connections = connections
        self.jobsPerConnection = jobsPerConnection
        self.queuedJobs = queuedJobs
        self.queuedImageBytes = queuedImageBytes
        self.uploadBytes = uploadBytes
        self.imageBytes = imageBytes
        self.memoryBytes = memoryBytes
        self.wallTime = wallTime
        self.pauseTime = pauseTime
        (self.pausedJobs, self.pausedJobsPerConnection) = (pausedJobs, pausedJobsPerConnection)
        self.pausedMemoryBytes = pausedMemoryBytes
        (self.keptMachinesPerSlot, self.keptMemoryBytes) = (keptMachinesPerSlot, keptMemoryBytes)
        (self.knownImageBytes, self.knownImages) = (knownImageBytes, knownImages)
        self.fileTreeBytes = fileTreeBytes
        (self.startingPointBytes, self.startingPoints) = (startingPointBytes, startingPoints)
        (self.snapshotBytes, self.snapshots) = (snapshotBytes, snapshots)
    }

    /// The most machines that exist at once in a worker with this many slots, those included that wait to be destroyed.
    public func machines(slots: Int) -> Int {
        slots * (MachineKeeping.machinesInUsePerSlot + keptMachinesPerSlot) + pausedJobs + MachineKeeping.doomedMachines
    }
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
