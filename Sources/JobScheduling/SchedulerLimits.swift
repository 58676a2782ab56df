// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Bounds on what a ``Scheduler`` takes and on what it lets run.
public struct SchedulerLimits: Sendable, Hashable {
    /// Bounds on what one tenant may have.
    public struct OfTenant: Sendable, Hashable {
        /// The most jobs that wait when nobody names another bound.
        public static let defaultQueuedJobs = 16_384

        /// Jobs that wait.
        public var queuedJobs: Int
        /// Jobs that the slots have; one that takes several slots counts as so many.
        public var runningJobs: Int
        /// Bytes of host memory that those may take.
        public var memoryBytes: UInt64
        /// Bytes that its jobs keep in memory while they wait, those included that are still on their way to the worker.
        public var bytesInFlight: Int

        /// The bounds; without a word there are hardly any, which suits a worker with one tenant.
        public init(
            queuedJobs: Int = OfTenant.defaultQueuedJobs, runningJobs: Int = .max, memoryBytes: UInt64 = .max,
            bytesInFlight: Int = .max
        ) {
            (self.queuedJobs, self.runningJobs) = (queuedJobs, runningJobs)
            (self.memoryBytes, self.bytesInFlight) = (memoryBytes, bytesInFlight)
        }
    }

    /// The most jobs that wait when nobody names another bound.
    public static let defaultQueuedJobs = 65_536
    /// The most bytes that jobs which wait keep in memory when nobody names another bound: 1 GiB.
    public static let defaultWaitingBytes = 1 << 30

    /// Jobs that run at once.
    public var slots: Int
    /// Jobs that the slots are given beyond those that run, at most, of all tenants that have more than one such job.
    public var ahead: Int
    /// Jobs that wait.
    public var queuedJobs: Int
    /// Bytes that jobs which wait keep in memory.
    public var waitingBytes: Int
    /// Bytes of host memory that the jobs which the slots have may take.
    public var memoryBytes: UInt64
    /// Bounds on what one tenant may have.
    public var tenant: OfTenant

    /// Bounds for so many slots.
    public init(
        slots: Int, ahead: Int = 0, queuedJobs: Int = SchedulerLimits.defaultQueuedJobs,
        waitingBytes: Int = SchedulerLimits.defaultWaitingBytes, memoryBytes: UInt64 = .max,
        tenant: OfTenant = OfTenant()
    ) {
        precondition(slots > 0 && ahead >= 0)
        (self.slots, self.ahead, self.queuedJobs) = (slots, ahead, queuedJobs)
        (self.waitingBytes, self.memoryBytes, self.tenant) = (waitingBytes, memoryBytes, tenant)
    }
}
