// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// What the owner of a ``Scheduler`` has to do next, in the order of the list.
public enum SchedulerAction: Sendable, Hashable {
    /// Give the job to the slots, in front of another that they have and have not begun, or behind all. If the other has been begun
    /// meanwhile, this one is the next.
    case start(JobKey, before: JobKey?)
    /// Stop the job, which the slots have. If none of them has taken it yet it has ended before it started; otherwise its result
    /// comes as usual.
    case stop(JobKey, Canceller)
    /// The job has ended before it started.
    case abandon(JobKey, Canceller)
    /// The job has waited for too long and has ended before it started.
    case expire(JobKey)
    /// The job has waited for too long, and the slots have it: if none of them has taken it yet it has ended; otherwise it goes on.
    case withdraw(JobKey)
    /// Run the job, which was paused and has more steps now, on in a slot: one is free.
    case resume(JobKey)
    /// End the job, which is paused: as cancelled, or without a canceller for want of steps. Its result comes as usual.
    case end(JobKey, Canceller?)
}
