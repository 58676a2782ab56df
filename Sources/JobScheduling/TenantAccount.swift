// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What one tenant has in a ``Scheduler``, and what it has had of the slots.
struct TenantAccount: Sendable {
    let tenant: Tenant
    /// Jobs that wait and that the slots do not have.
    var line = WaitingLine()
    /// What all jobs keep in memory that no slot has begun.
    var waiting = WaitingBytes()
    /// Jobs that the slots have and have not begun, and how many slots they take.
    private(set) var aheadCount = 0, aheadSlots = 0
    /// Jobs that have been begun, and how many slots they take.
    private(set) var runningCount = 0, runningSlots = 0
    /// Jobs that are paused, or end as such; those that wait to go on are in ``line``.
    var pausedCount = 0
    /// Bytes of host memory that the jobs may take which the slots have.
    var memoryBytes: UInt64 = 0
    /// Nanoseconds that jobs had slots which have them no more; and what the tenant did not have while it was away.
    private(set) var charged: UInt64 = 0
    /// The instants at which running jobs began, summed up for each slot. It may wrap: see ``slotTime(at:)``.
    private var beginnings: UInt64 = 0
    /// How long a job has a slot, in nanoseconds, lately; nil before the first.
    private(set) var meanTime: UInt64?

    init(_ tenant: Tenant) { self.tenant = tenant }

    /// Jobs that wait, those included that the slots have and have not begun.
    var queuedCount: Int { line.count + aheadCount }
    /// Jobs that the slots have.
    var handedCount: Int { aheadCount + runningCount }
    /// Slots that those take.
    var handedSlots: Int { aheadSlots + runningSlots }
    /// Whether it takes part in the sharing of the slots.
    var isActive: Bool { line.count + handedCount > 0 }

    /// Nanoseconds that running jobs have had their slots, all slots together.
    func runningTime(at now: UInt64) -> UInt64 { UInt64(runningSlots) &* now &- beginnings }

    /// Slot time had until now, in nanoseconds: what slots are shared by.
    func slotTime(at now: UInt64) -> UInt64 { charged &+ runningTime(at: now) }

    /// The same with what the jobs ahead are likely to take.
    func slotTimeAhead(at now: UInt64) -> UInt64 { slotTime(at: now) &+ UInt64(aheadSlots) &* (meanTime ?? 0) }

    /// It was away: what others had meanwhile it does not get now.
    mutating func joinSharing(at floor: UInt64) { charged = max(charged, floor) }

    mutating func joinLine(slots: Int) {
        aheadCount += 1
        aheadSlots += slots
    }

    mutating func leaveLine(slots: Int) {
        aheadCount -= 1
        aheadSlots -= slots
    }

    mutating func begin(at now: UInt64, slots: Int) {
        runningCount += 1
        runningSlots += slots
        beginnings &+= UInt64(slots) &* now
    }

    /// A job that began then has left its slots now.
    mutating func leave(begunAt beginning: UInt64, at now: UInt64, slots: Int) {
        runningCount -= 1
        runningSlots -= slots
        beginnings &-= UInt64(slots) &* beginning
        let time = now - min(beginning, now)
        charged &+= UInt64(slots) &* time
        meanTime = Scheduler.mean(meanTime, time)
    }
}
