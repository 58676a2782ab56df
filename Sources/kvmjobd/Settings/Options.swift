// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobStore
internal import Systemd
internal import Worker

/// What a start of kvmjobd is asked to be.
struct Options: Sendable {
    /// The path to listen at; nil means the service manager's socket.
    var socketPath: String?
    /// Jobs that run at once; nil means as many as there are cores for this process.
    var slots: Int?
    /// Which jobs may follow one another on the same virtual machine.
    var machines = MachinePolicy.pooled
    /// How long without jobs and connections until it leaves; nil means never.
    var idleExit: Duration?
    /// How long running jobs may go on after SIGTERM. Below the unit's `TimeoutStopSec=`, so that systemd never kills.
    var drainTimeout = Duration.seconds(45)
    /// For how long threads without work poll before they sleep.
    var spin = Duration.zero
    /// Users who may see and stop every user's jobs, beside root and the worker's own user.
    var operators: [UInt32] = []

    /// How much of its sandbox the worker insists on.
    var confinement = ConfinementRule.auto

    /// Which jobs get records in the log.
    var jobLogging = JobLogging.all
    /// Where the log goes.
    var logTarget = LogTarget.auto

    /// Connections at once.
    var connections = WorkerLimits().connections
    /// Jobs that wait for a slot.
    var queuedJobs = WorkerLimits().queuedJobs
    /// Bytes of this machine's memory that jobs may take, running, waiting and kept; nil means half of what there is.
    var memory: UInt64?
    /// Bytes that jobs which wait for a slot keep in memory.
    var bytesInFlight = UInt64(WorkerLimits().queuedImageBytes)
    /// Bytes of images that are kept for users who may submit them again.
    var imageCache = UInt64(WorkerLimits().knownImageBytes)
    /// How long a paused job's machine is kept.
    var pauseTime = WorkerLimits.defaultPauseTime
    /// Machines of paused jobs that are kept at once.
    var pausedJobs = WorkerLimits().pausedJobs

    /// What one user may have of all that.
    var tenant = TenantOptions()

    /// Where detached jobs are kept; nil means where the service manager says, or nowhere.
    var stateDirectory: String?
    /// How many of them, and for how long.
    var detached = DetachedLimits()
}

/// What one user may have; nil means as much as there is.
struct TenantOptions: Sendable {
    /// Jobs that wait for a slot.
    var queuedJobs = TenantLimits().queuedJobs
    /// Jobs that run.
    var runningJobs: Int?
    /// Bytes of memory that running jobs may take.
    var memory: UInt64?
    /// Bytes of images on their way, and of what jobs which wait keep in memory.
    var bytesInFlight = UInt64(TenantLimits().bytesInFlight)
    /// Bytes of images that are kept.
    var imageCache: UInt64?
    /// Connections.
    var connections = TenantLimits().connections
}
