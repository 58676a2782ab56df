// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc
internal import JobModel
public import JobProtocol
public import JobScheduling
public import JobStore
public import VMRuntime

/// Bounds on what clients can make the worker hold.
public struct WorkerLimits: Sendable, Hashable {
    /// The most slots of one worker: each takes a thread.
    public static let maximumSlots = 128
    /// What a machine takes beside its guest's memory, at the kernel and in the worker, with room to spare: 1 MiB.
    public static let machineOverhead: UInt64 = 1 << 20

    /// Connections at once; the next one is told so and closed.
    public var connections: Int
    /// Jobs in flight on one connection.
    public var jobsPerConnection: UInt32
    /// What one tenant may have of it.
    public var tenant: TenantLimits
    /// Jobs that wait for a slot.
    public var queuedJobs: Int
    /// Bytes of host memory that running jobs may take together: of each its guest memory, what a program may write to files, 4 MiB for a ROM, and
    /// ``machineOverhead``.
    public var runningMemoryBytes: UInt64
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
    /// How much of detached jobs is kept, and for how long.
    public var detached = DetachedLimits()

    /// How long a paused job's machine is kept unless the worker is told otherwise: 30 s.
    public static let defaultPauseTime = Duration.seconds(30)

    /// The usual bounds.
    public init(
        connections: Int = 4096, jobsPerConnection: UInt32 = WorkerTerms.defaultJobLimit,
        tenant: TenantLimits = TenantLimits(), queuedJobs: Int = SchedulerLimits.defaultQueuedJobs,
        runningMemoryBytes: UInt64 = .max, queuedImageBytes: Int = SchedulerLimits.defaultWaitingBytes,
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
        (self.tenant, self.queuedJobs) = (tenant, queuedJobs)
        self.runningMemoryBytes = runningMemoryBytes
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

/// Bounds on what one tenant can make the worker hold. What is not said bounds nobody more than the worker's own bounds do.
public struct TenantLimits: Sendable, Hashable {
    /// The most bytes in flight when nobody names another bound: 512 MiB.
    public static let defaultBytesInFlight = 512 << 20
    /// The most connections when nobody names another bound: a quarter of the worker's.
    public static let defaultConnections = 1024

    /// Jobs that wait for a slot.
    public var queuedJobs: Int
    /// Jobs that run at once.
    public var runningJobs: Int
    /// Bytes of host memory that those may take: see ``WorkerLimits/runningMemoryBytes``.
    public var memoryBytes: UInt64
    /// Bytes of images on their way, and of what jobs which wait keep in memory.
    public var bytesInFlight: Int
    /// Bytes of images that are kept in case that they come again, and as many of each other thing that is made of them.
    public var knownImageBytes: Int
    /// Connections at once.
    public var connections: Int

    /// The usual bounds.
    public init(
        queuedJobs: Int = SchedulerLimits.OfTenant.defaultQueuedJobs, runningJobs: Int = .max,
        memoryBytes: UInt64 = .max,
        bytesInFlight: Int = TenantLimits.defaultBytesInFlight, knownImageBytes: Int = .max,
        connections: Int = TenantLimits.defaultConnections
    ) {
        (self.queuedJobs, self.runningJobs, self.memoryBytes) = (queuedJobs, runningJobs, memoryBytes)
        (self.bytesInFlight, self.knownImageBytes) = (bytesInFlight, knownImageBytes)
        self.connections = connections
    }
}

extension WorkerLimits {
    /// Bytes of host memory that a worker may take in all when nobody names a bound: half of what this machine has. Read by
    /// sysconf(3).
    public static var defaultMemoryBytes: UInt64 {
        let pages = sysconf(Int32(_SC_PHYS_PAGES)), pageBytes = sysconf(Int32(_SC_PAGESIZE))
        return UInt64(max(0, pages)) * UInt64(max(0, pageBytes)) / 2
    }

    /// The least bytes that ``fit(into:)`` takes: 64 MiB.
    public static let leastMemoryBytes: UInt64 = 64 << 20

    /// Lowers the bounds so that all that they allow together is no more than so many bytes. What is kept for later use, and what waits,
    /// gets at most a small part each; running jobs get the rest, which is a half at the least.
    ///
    /// - Parameter total: at least ``leastMemoryBytes``.
    public mutating func fit(into total: UInt64) {
        keptMemoryBytes = min(keptMemoryBytes, total / 8)
        pausedMemoryBytes = min(pausedMemoryBytes, total / 16)
        snapshotBytes = min(snapshotBytes, total / 16)
        queuedImageBytes = min(queuedImageBytes, Int(clamping: total / 16))
        uploadBytes = min(uploadBytes, Int(clamping: total / 16))
        knownImageBytes = min(knownImageBytes, Int(clamping: total / 32))
        fileTreeBytes = min(fileTreeBytes, Int(clamping: total / 32))
        startingPointBytes = min(startingPointBytes, Int(clamping: total / 32))
        imageBytes = min(imageBytes, UInt64(uploadBytes))
        let rest =
            keptMemoryBytes + pausedMemoryBytes + snapshotBytes
            + UInt64(
                queuedImageBytes + uploadBytes + knownImageBytes + fileTreeBytes + startingPointBytes)
        runningMemoryBytes = min(runningMemoryBytes, total - rest)
    }

    /// Bytes of the largest image that a user can have on the way.
    var largestImage: UInt64 { min(imageBytes, UInt64(clamping: tenant.bytesInFlight)) }

    /// Bytes of guest memory that one job can have at most: what can be admitted for a job that runs alone.
    var largestGuest: UInt64 {
        let admitted = min(runningMemoryBytes, tenant.memoryBytes)
        let pageMask: UInt64 = 4095
        return min(memoryBytes, (admitted - min(admitted, Self.machineOverhead)) & ~pageMask)
    }

    /// Jobs that the slots are given ahead of their turn, for each slot: more than a slot does between two looks at its events.
    static let jobsAheadPerSlot = 32

    /// The bounds that the scheduler keeps.
    func ofScheduler(slots: Int) -> SchedulerLimits {
        SchedulerLimits(
            slots: slots, ahead: slots * Self.jobsAheadPerSlot, queuedJobs: queuedJobs,
            waitingBytes: queuedImageBytes, memoryBytes: runningMemoryBytes,
            tenant: .init(
                queuedJobs: tenant.queuedJobs, runningJobs: tenant.runningJobs, memoryBytes: tenant.memoryBytes,
                bytesInFlight: tenant.bytesInFlight))
    }
}
