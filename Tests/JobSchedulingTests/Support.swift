// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

@testable import JobScheduling

/// A scheduler whose slots begin jobs as soon as they have them, and whose clock counts what is done.
extension Scheduler {
    init(slots: Int, ahead: Int = 0, queuedJobs: Int = 1000, waitingBytes: Int = 1 << 30) {
        self.init(
            limits: SchedulerLimits(slots: slots, ahead: ahead, queuedJobs: queuedJobs, waitingBytes: waitingBytes))
    }

    /// One user's job that has nothing in common with others.
    mutating func submit(_ job: JobKey, bytes: Int) throws -> (position: Int, actions: [SchedulerAction]) {
        try submit(job, holding: Holding(bytes: bytes))
    }

    mutating func submit(_ job: JobKey, holding: Holding) throws -> (position: Int, actions: [SchedulerAction]) {
        try submit(job, JobRequest(tenant: .user(1), holding: holding))
    }

    mutating func submit(_ job: JobKey, _ request: JobRequest) throws -> (position: Int, actions: [SchedulerAction]) {
        let (position, _, actions) = try submit(job, request, at: clock)
        return (position, actions + beginAll())
    }

    mutating func finished(_ job: JobKey) -> [SchedulerAction] {
        let actions = finished(job, at: clock + 1)
        return actions + beginAll()
    }

    mutating func paused(_ job: JobKey) -> [SchedulerAction] {
        let actions = paused(job, at: clock + 1)
        return actions + beginAll()
    }

    mutating func extended(_ job: JobKey) -> [SchedulerAction] {
        let actions = extended(job, at: clock + 1)
        return actions + beginAll()
    }

    private mutating func beginAll() -> [SchedulerAction] {
        var actions: [SchedulerAction] = []
        while begunCount < limits.slots, let job = line.first { actions += began(job, at: clock) }
        return actions
    }
}

extension SchedulerAction {
    /// A start behind all that the slots have.
    static func start(_ job: JobKey) -> Self { .start(job, before: nil) }
}
