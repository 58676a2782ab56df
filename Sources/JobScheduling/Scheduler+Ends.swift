// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// Ends that do not come of running.
extension Scheduler {
    /// Stops a job, queued, running or paused. Does nothing for one that has ended or is stopping.
    public mutating func cancel(_ key: JobKey, by canceller: Canceller) -> [SchedulerAction] {
        guard let job = jobs[key] else { return [] }
        switch job.state {
        case .queued:
            leaveUnstarted(key)
            return [.abandon(key, canceller)]
        case .handed:
            jobs[key]?.state = .stopping(canceller, since: nil)
            return [.stop(key, canceller)]
        case .running(let since):
            jobs[key]?.state = .stopping(canceller, since: since)
            return [.stop(key, canceller)]
        case .requeued:
            jobs[key]?.state = .ending
            leaveQueue(job)
            accounts[job.account].pausedCount += 1
            return [.end(key, canceller)]
        case .paused:
            jobs[key]?.state = .ending
            return [.end(key, canceller)]
        case .stopping, .ending: return []
        }
    }

    /// The job has waited for as long as it may. Does nothing for one that has begun or ended.
    public mutating func expire(_ key: JobKey) -> [SchedulerAction] {
        switch jobs[key]?.state {
        case .queued:
            leaveUnstarted(key)
            return [.expire(key)]
        case .handed: return [.withdraw(key)]
        case .running, .stopping, .paused, .requeued, .ending, nil: return []
        }
    }

    private mutating func leaveUnstarted(_ key: JobKey) {
        guard let job = jobs[key] else { return }
        stopHolding(key)
        jobs[key] = nil
        leaveQueue(job)
        if !accounts[job.account].isActive { raiseFloor(leaving: job.account) }
    }

    /// Takes no more jobs; those accepted go on, but for the paused ones, which end.
    public mutating func drain() -> [SchedulerAction] {
        isDraining = true
        return jobs.keys.sorted().flatMap { end($0) }
    }

    /// Stops every job that is left.
    public mutating func cancelAll(by canceller: Canceller) -> [SchedulerAction] {
        let keys = jobs.keys.sorted()
        // Those that wait have ended before a slot is free for one of them; they are told last.
        let unstarted = keys.filter { if case .queued? = jobs[$0]?.state { true } else { false } }
        for key in unstarted { leaveUnstarted(key) }
        // The last of the line goes first, so that no slot takes one as it is stopped.
        let handed = line.reversed().flatMap { cancel($0, by: canceller) }
        let started = keys.flatMap { cancel($0, by: canceller) }
        return handed + started + unstarted.map { .abandon($0, canceller) }
    }
}
