// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobScheduling

/// Slots that run what a scheduler gives them, each job for the time that the test says.
struct Floor {
    var scheduler: Scheduler
    let slots: Int
    private(set) var now: UInt64 = 0
    private(set) var line: [JobKey] = []
    private(set) var running: [JobKey: UInt64] = [:]
    private(set) var ended: [SchedulerAction] = []
    private(set) var used: [Tenant: UInt64] = [:]
    private(set) var startedAt: [JobKey: UInt64] = [:]
    private var times: [JobKey: UInt64] = [:]
    private var owners: [JobKey: Tenant] = [:]
    private var memory: [JobKey: UInt64] = [:]
    private var widths: [JobKey: Int] = [:]
    private(set) var mostMemory: UInt64 = 0
    private var last: UInt64 = 0

    init(_ limits: SchedulerLimits) { (scheduler, slots) = (Scheduler(limits: limits), limits.slots) }

    @discardableResult
    mutating func submit(
        _ tenant: Tenant, time: UInt64, priority: UInt8 = JobPriority.normal, memoryBytes: UInt64 = 0, bytes: Int = 1,
        width: Int = 1
    ) throws -> JobKey {
        let job = JobKey(last + 1)
        let request = JobRequest(
            tenant: tenant, priority: priority, holding: Holding(bytes: bytes), memoryBytes: memoryBytes,
            slots: width)
        let (_, _, actions) = try scheduler.submit(job, request, at: now)
        (last, times[job], owners[job], memory[job]) = (last + 1, time, tenant, memoryBytes)
        widths[job] = width
        perform(actions)
        takeUp()
        return job
    }

    mutating func perform(_ actions: [SchedulerAction]) {
        for action in actions {
            switch action {
            case .start(let job, let before):
                line.insert(job, at: before.map { line.firstIndex(of: $0) ?? 0 } ?? line.count)
            case .stop(let job, _), .withdraw(let job):
                guard let place = line.firstIndex(of: job) else { continue }
                line.remove(at: place)
                ended.append(action)
                perform(scheduler.finished(job, at: now))
            case .abandon, .expire: ended.append(action)
            case .resume, .end: Issue.record("nothing is paused here")
            }
        }
    }

    /// Slots that the running jobs have, those that a wide job leaves idle included.
    var slotsHad: Int { running.keys.reduce(0) { $0 + widths[$1, default: 1] } }

    /// Slots that run nothing take what is first in the line: they know nothing of widths.
    private mutating func takeUp() {
        while running.count < slots, !line.isEmpty {
            let job = line.removeFirst()
            running[job] = now + times[job, default: 1]
            startedAt[job] = now
            perform(scheduler.began(job, at: now))
        }
        mostMemory = max(mostMemory, running.keys.reduce(0) { $0 + memory[$1, default: 0] })
    }

    /// Time goes by until the next job ends.
    @discardableResult
    mutating func step() -> JobKey? {
        guard let (job, end) = running.min(by: { ($0.value, $0.key) < ($1.value, $1.key) }) else { return nil }
        now = end
        running[job] = nil
        if let owner = owners[job] {
            used[owner, default: 0] += times[job, default: 0] * UInt64(widths[job, default: 1])
        }
        perform(scheduler.finished(job, at: now))
        takeUp()
        return job
    }

    mutating func cancel(_ job: JobKey) {
        perform(scheduler.cancel(job, by: .client))
        takeUp()
    }

    mutating func expire(_ job: JobKey) {
        perform(scheduler.expire(job))
        takeUp()
    }
}
