// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom
import Testing

@testable import JobScheduling

/// Jobs that take several slots at once.
@Suite struct WideJobTests {
    private let one = Tenant.user(1), other = Tenant.user(2)

    @Test func `a wide job starts when all its slots are free, and not before`() throws {
        var floor = Floor(SchedulerLimits(slots: 3, ahead: 8))
        let narrow = try floor.submit(one, time: 10)
        let wide = try floor.submit(one, time: 10, width: 3)
        #expect(floor.running.keys.sorted() == [narrow] && floor.scheduler.queuedCount == 1)
        #expect(floor.step() == narrow)
        #expect(floor.running.keys.sorted() == [wide] && floor.slotsHad == 3)
        #expect(floor.scheduler.handedSlots == 3 && floor.scheduler.runningCount == 1)
    }

    @Test func `beside a wide job nobody is ahead of his turn`() throws {
        var floor = Floor(SchedulerLimits(slots: 3, ahead: 8))
        let wide = try floor.submit(one, time: 100, width: 2)
        let beside = try floor.submit(other, time: 10)
        let waiting = try floor.submit(other, time: 10)
        #expect(floor.running.keys.sorted() == [wide, beside] && floor.line.isEmpty)
        #expect(floor.scheduler.queuedCount == 1 && floor.slotsHad == 3)
        #expect(floor.step() == beside && floor.running.keys.sorted() == [wide, waiting])
    }

    @Test func `narrow jobs that keep coming do not keep a wide one from starting`() throws {
        var floor = Floor(SchedulerLimits(slots: 4, ahead: 16))
        for _ in 0..<4 { try floor.submit(other, time: 1000) }
        let wide = try floor.submit(one, time: 10, width: 4)
        var ended = 0
        while floor.startedAt[wide] == nil, ended < 50 {
            try floor.submit(other, time: 1000)
            floor.step()
            ended += 1
        }
        #expect(floor.startedAt[wide] != nil && ended <= 10, "after \(ended) others")
    }

    @Test func `slot time is charged for each slot`() throws {
        var floor = Floor(SchedulerLimits(slots: 2))
        for _ in 0..<400 { try floor.submit(one, time: 1000, width: 2) }
        for _ in 0..<1600 { try floor.submit(other, time: 1000) }
        while floor.now < 200_000 { floor.step() }
        let (wide, narrow) = (floor.used[one] ?? 0, floor.used[other] ?? 0)
        #expect(wide > 150_000 && narrow > 150_000, "\(wide) and \(narrow)")
    }

    @Test func `what never could start is refused by name`() throws {
        var scheduler = Scheduler(
            limits: SchedulerLimits(slots: 4, tenant: .init(runningJobs: 3)))
        #expect {
            try scheduler.submit(JobKey(1), JobRequest(tenant: one, slots: 5))
        } throws: { error in
            let refusal = error as? Refusal
            return refusal?.limitName == "slots" && refusal?.limit == 4 && refusal?.value == 5
        }
        #expect {
            try scheduler.submit(JobKey(1), JobRequest(tenant: one, slots: 4))
        } throws: { ($0 as? Refusal)?.limitName == "tenant-running-jobs" }
        #expect(scheduler.isIdle)
        #expect(try scheduler.submit(JobKey(1), JobRequest(tenant: one, slots: 3)).actions == [.start(JobKey(1))])
    }

    @Test func `a tenant's own bound counts slots, and holds up nobody else`() throws {
        var floor = Floor(SchedulerLimits(slots: 4, tenant: .init(runningJobs: 2)))
        let narrow = try floor.submit(one, time: 10)
        try floor.submit(one, time: 10, width: 2)
        let others = try floor.submit(other, time: 20)
        #expect(floor.running.keys.sorted() == [narrow, others])
        floor.step()
        #expect(floor.slotsHad == 3)
    }

    @Test func `one that is stopped before it has begun gives all its slots back`() throws {
        var scheduler = Scheduler(limits: SchedulerLimits(slots: 2, ahead: 4))
        _ = try scheduler.submit(JobKey(1), JobRequest(tenant: one, slots: 2), at: 0)
        #expect(scheduler.handedSlots == 2)
        #expect(scheduler.cancel(JobKey(1), by: .client) == [.stop(JobKey(1), .client)])
        #expect(scheduler.finished(JobKey(1), at: 1).isEmpty && scheduler.isIdle)
        #expect(scheduler.handedSlots == 0 && scheduler.wideCount == 0)
    }

    @Test(arguments: 0..<20) func `whatever comes, no more slots are had than there are, and all jobs end`(
        seed: UInt64
    ) throws {
        var random = SplitMix64(state: seed)
        let slots = Int.random(in: 1...8, using: &random)
        var floor = Floor(
            SchedulerLimits(
                slots: slots, ahead: Int.random(in: 0...32, using: &random), queuedJobs: 400, memoryBytes: 3000,
                tenant: .init(queuedJobs: 150, runningJobs: slots)))
        var open: Set<JobKey> = []
        var (submitted, ended) = (0, 0)
        for _ in 0..<3000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                let isWide = Int.random(in: 0..<4, using: &random) == 0
                let job = try? floor.submit(
                    Tenant.user(UInt32.random(in: 0..<4, using: &random)),
                    time: UInt64.random(in: 1...1_000_000, using: &random),
                    priority: UInt8.random(in: 0...9, using: &random),
                    memoryBytes: UInt64.random(in: 0...1500, using: &random),
                    width: isWide ? Int.random(in: 1...slots, using: &random) : 1)
                if let job { (submitted, _) = (submitted + 1, open.insert(job)) }
            case 5: open.randomElement(using: &random).map { floor.cancel($0) }
            case 6: open.randomElement(using: &random).map { floor.expire($0) }
            default: if let job = floor.step() { (ended, _) = (ended + 1, open.remove(job)) }
            }
            let scheduler = floor.scheduler
            #expect(floor.slotsHad <= slots && scheduler.begunSlots == floor.slotsHad)
            #expect(scheduler.wideCount == 0 || scheduler.handedSlots <= slots)
            #expect(scheduler.runningCount == floor.running.count && scheduler.line.elementsEqual(floor.line))
            #expect(submitted - ended - floor.ended.count == scheduler.queuedCount + floor.running.count)
        }
        while floor.step() != nil { ended += 1 }
        #expect(floor.scheduler.isIdle && submitted == ended + floor.ended.count)
        #expect(floor.scheduler.handedSlots == 0 && floor.scheduler.wideCount == 0)
    }
}
