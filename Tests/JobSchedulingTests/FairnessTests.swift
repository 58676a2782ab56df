// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom
import Testing

@testable import JobScheduling

/// Slots are shared by the time that they are had.
@Suite struct FairnessTests {
    private let hog = Tenant.user(1), guest = Tenant.user(2)
    private let short: UInt64 = 50_000, long: UInt64 = 100_000_000

    @Test(arguments: [50_000, 5_000_000, 100_000_000] as [UInt64], [1, 2, 8])
    func `beside 10,000 queued jobs of one tenant another's single job starts within a slot's turn`(
        time: UInt64, slots: Int
    ) throws {
        var floor = Floor(SchedulerLimits(slots: slots, ahead: 32 * slots))
        for _ in 0..<10_000 { try floor.submit(hog, time: time) }
        for _ in 0..<100 { floor.step() }
        let before = floor.now
        let job = try floor.submit(guest, time: time)
        while floor.startedAt[job] == nil { floor.step() }
        #expect(try #require(floor.startedAt[job]) - before <= time)
        #expect(floor.scheduler.queuedCount > 9000, "the other one goes on")
    }

    @Test func `jobs of different lengths share the slots by time and not by number`() throws {
        var floor = Floor(SchedulerLimits(slots: 2, ahead: 64))
        for _ in 0..<200 { try floor.submit(hog, time: long) }
        for _ in 0..<10_000 { try floor.submit(guest, time: short * 20) }
        while floor.now < 5_000_000_000 { floor.step() }
        let (one, other) = (floor.used[hog, default: 0], floor.used[guest, default: 0])
        #expect(max(one, other) - min(one, other) <= 4 * long, "\(one) and \(other) ns")
    }

    @Test func `who stays away saves up nothing, and who was alone owes nothing`() throws {
        var floor = Floor(SchedulerLimits(slots: 1, ahead: 32))
        for _ in 0..<1000 { try floor.submit(hog, time: long) }
        for _ in 0..<500 { floor.step() }
        for _ in 0..<1000 { try floor.submit(guest, time: long) }
        let (one, other) = (floor.used[hog, default: 0], floor.used[guest, default: 0])
        for _ in 0..<400 { floor.step() }
        let gain = (floor.used[hog, default: 0] - one, floor.used[guest, default: 0] - other)
        #expect(max(gain.0, gain.1) - min(gain.0, gain.1) <= 2 * long, "\(gain)")
    }

    @Test func `of one tenant's jobs the higher priority goes first, even before those that the slots have`() throws {
        var floor = Floor(SchedulerLimits(slots: 1, ahead: 32))
        for _ in 0..<20 { try floor.submit(hog, time: short) }
        for _ in 0..<4 { floor.step() }
        #expect(floor.line.count > 1, "several are ahead")
        let last = try floor.submit(hog, time: short, priority: 0)
        let first = try floor.submit(hog, time: short, priority: 9)
        let second = try floor.submit(hog, time: short, priority: 9)
        floor.step()
        #expect(floor.running.keys.first == first)
        floor.step()
        #expect(floor.running.keys.first == second)
        while floor.scheduler.queuedCount > 0 { floor.step() }
        #expect(floor.running.keys.first == last)
    }

    @Test func `a higher priority goes first where jobs are long and few are ahead`() throws {
        var floor = Floor(SchedulerLimits(slots: 1, ahead: 32))
        for _ in 0..<3 { try floor.submit(hog, time: long) }
        let jobs = try [3, 9, 6, 9].map { priority in try floor.submit(hog, time: long, priority: priority) }
        floor.step()
        #expect(floor.running.keys.first == jobs[1])
        floor.step()
        #expect(floor.running.keys.first == jobs[3])
        floor.step()
        #expect(floor.running.keys.first == jobs[2])
    }

    @Test func `priorities say nothing about the jobs of others`() throws {
        var floor = Floor(SchedulerLimits(slots: 1))
        for _ in 0..<100 { try floor.submit(hog, time: long, priority: 9) }
        for _ in 0..<100 { try floor.submit(guest, time: long, priority: 0) }
        for _ in 0..<100 { floor.step() }
        #expect(floor.used[guest, default: 0] >= 49 * long)
    }

    @Test func `a tenant has no more jobs in the slots than it may, and holds up nobody`() throws {
        var floor = Floor(SchedulerLimits(slots: 4, ahead: 64, tenant: .init(runningJobs: 2)))
        for _ in 0..<10 { try floor.submit(hog, time: long) }
        #expect(floor.running.count == 2 && floor.line.isEmpty)
        for _ in 0..<10 { try floor.submit(guest, time: long) }
        #expect(floor.running.count == 4)
        while floor.step() != nil { #expect(floor.running.count <= 4 && floor.line.isEmpty) }
        #expect(floor.scheduler.isIdle)
    }

    // MARK: Memory

    @Test func `what runs takes no more memory than there is, and a large job is not kept waiting by small ones`()
        throws
    {
        var floor = Floor(SchedulerLimits(slots: 8, ahead: 64, memoryBytes: 1000))
        for _ in 0..<500 { try floor.submit(hog, time: short, memoryBytes: 200) }
        for _ in 0..<10 { floor.step() }
        let large = try floor.submit(guest, time: short, memoryBytes: 1000)
        var steps = 0
        while floor.startedAt[large] == nil {
            floor.step()
            steps += 1
        }
        #expect(steps <= 5, "those that were admitted before it, and no more")
        while floor.step() != nil {}
        #expect(floor.mostMemory == 1000 && floor.scheduler.isIdle && floor.scheduler.memoryBytes == 0)
    }

    @Test func `a tenant's own bound on memory holds up nobody else`() throws {
        var floor = Floor(SchedulerLimits(slots: 8, memoryBytes: 1000, tenant: .init(memoryBytes: 400)))
        for _ in 0..<10 { try floor.submit(hog, time: long, memoryBytes: 200) }
        #expect(floor.running.count == 2)
        for _ in 0..<10 { try floor.submit(guest, time: long, memoryBytes: 100) }
        #expect(floor.running.count == 6)
        while floor.step() != nil {}
        #expect(floor.mostMemory <= 800 && floor.scheduler.isIdle)
    }

    @Test func `a job that could never run is refused, with the limit's name`() throws {
        var floor = Floor(SchedulerLimits(slots: 1, memoryBytes: 1000, tenant: .init(memoryBytes: 400)))
        let own = #expect(throws: Refusal.self) { try floor.submit(hog, time: 1, memoryBytes: 401) }
        #expect(
            own?.limitName == "tenant-memory" && own?.limit == 400 && own?.value == 401 && own?.isRetryable == false)
        let all = #expect(throws: Refusal.self) { try floor.submit(hog, time: 1, memoryBytes: 1001) }
        #expect(all?.limitName == "memory" && all?.rule == .memorySize)
        try floor.submit(hog, time: 1, memoryBytes: 400)
    }

    // MARK: Bounds of a tenant

    @Test func `a tenant that has as many waiting jobs as it may is told so, and others are not`() throws {
        var floor = Floor(SchedulerLimits(slots: 1, tenant: .init(queuedJobs: 3)))
        for _ in 0..<4 { try floor.submit(hog, time: long) }
        let refusal = #expect(throws: Refusal.self) { try floor.submit(hog, time: long) }
        #expect(refusal?.rule == .tenantLimit && refusal?.limitName == "tenant-queued-jobs")
        #expect(refusal?.limit == 3 && refusal?.value == 4 && refusal?.retryNanoseconds == Scheduler.longRetry)
        try floor.submit(guest, time: long)
        floor.step()
        floor.step()
        try floor.submit(hog, time: long)
        let later = #expect(throws: Refusal.self) { try floor.submit(hog, time: long) }
        #expect(later?.retryNanoseconds == long, "as long as one job takes")
    }

    @Test func `a tenant's waiting bytes are bounded, those on their way included`() throws {
        var scheduler = Scheduler(limits: SchedulerLimits(slots: 1, tenant: .init(bytesInFlight: 100)))
        for job in 1...2 as ClosedRange<UInt64> { _ = try scheduler.submit(JobKey(job), bytes: 60) }
        #expect(throws: Never.self) {
            try scheduler.checkRoom(for: .user(1), holding: Holding(bytes: 20), arriving: 20)
        }
        let refusal = #expect(throws: Refusal.self) {
            try scheduler.checkRoom(for: .user(1), holding: Holding(bytes: 20), arriving: 21)
        }
        #expect(
            refusal?.rule == .tenantLimit && refusal?.limitName == "tenant-bytes-in-flight" && refusal?.value == 101)
        #expect(throws: Never.self) { try scheduler.checkRoom(for: .user(2), holding: Holding(bytes: 100)) }
    }

    // MARK: Waits

    @Test func `a job whose wait is over ends, in the queue and in the line, and one that has begun goes on`() throws {
        var floor = Floor(SchedulerLimits(slots: 1, ahead: 4))
        let jobs = try (0..<3).map { _ in try floor.submit(hog, time: long) }
        #expect(floor.line == [jobs[1]])
        for job in jobs.reversed() { floor.expire(job) }
        #expect(floor.ended == [.expire(jobs[2]), .withdraw(jobs[1])])
        #expect(floor.step() == jobs[0] && floor.step() == nil && floor.scheduler.isIdle)
    }

    @Test func `a newcomer is told its place and about how long it waits`() throws {
        var scheduler = Scheduler(limits: SchedulerLimits(slots: 1))
        func request(_ user: UInt32, _ priority: UInt8 = 5) -> JobRequest {
            JobRequest(tenant: .user(user), priority: priority)
        }
        let first = try scheduler.submit(JobKey(1), request(1), at: 0)
        #expect(first.position == 0 && first.waitNanoseconds == 0)
        _ = scheduler.began(JobKey(1), at: 0)
        let second = try scheduler.submit(JobKey(2), request(1), at: 0)
        #expect(second.position == 0 && second.waitNanoseconds == nil, "no job has ended yet")
        _ = scheduler.finished(JobKey(1), at: 1000)
        for job in 3...6 as ClosedRange<UInt64> { _ = try scheduler.submit(JobKey(job), request(1), at: 1000) }
        let behind = try scheduler.submit(JobKey(7), request(1), at: 1000)
        #expect(behind.position == 5 && behind.waitNanoseconds == 6000)
        #expect(try scheduler.submit(JobKey(8), request(1, 9), at: 1000).position == 1, "one that the slots have")
        #expect(try scheduler.submit(JobKey(9), request(2), at: 1000).position == 0, "others wait their own turns")
    }

    // MARK: Anything

    @Test(arguments: 0..<20) func `whatever comes, the counts add up and nobody is starved`(seed: UInt64) throws {
        var random = SplitMix64(state: seed)
        let slots = Int.random(in: 1...6, using: &random)
        let limits = SchedulerLimits(
            slots: slots, ahead: Int.random(in: 0...64, using: &random), queuedJobs: 400, waitingBytes: 5000,
            memoryBytes: 3000,
            tenant: .init(queuedJobs: 150, runningJobs: slots, memoryBytes: 2000, bytesInFlight: 3000))
        var floor = Floor(limits)
        var open: Set<JobKey> = []
        var (submitted, ended) = (0, 0)
        for _ in 0..<5000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                let tenant = Tenant.user(UInt32.random(in: 0..<5, using: &random))
                let time = UInt64.random(in: 1...(Bool.random(using: &random) ? 100 : 10_000_000), using: &random)
                let job = try? floor.submit(
                    tenant, time: time, priority: UInt8.random(in: 0...9, using: &random),
                    memoryBytes: UInt64.random(in: 0...2000, using: &random),
                    bytes: Int.random(in: 0...50, using: &random))
                if let job { (submitted, _) = (submitted + 1, open.insert(job)) }
            case 5: open.randomElement(using: &random).map { floor.cancel($0) }
            case 6: open.randomElement(using: &random).map { floor.expire($0) }
            default: if let job = floor.step() { (ended, _) = (ended + 1, open.remove(job)) }
            }
            #expect(floor.scheduler.runningCount == floor.running.count && floor.running.count <= slots)
            #expect(floor.scheduler.handedCount == floor.running.count + floor.line.count)
            #expect(floor.scheduler.line.elementsEqual(floor.line))
            #expect(floor.scheduler.memoryBytes <= 3000 && floor.mostMemory <= 3000)
            #expect(submitted - ended - floor.ended.count == floor.scheduler.queuedCount + floor.running.count)
        }
        while floor.step() != nil { ended += 1 }
        #expect(floor.scheduler.isIdle && submitted == ended + floor.ended.count)
        #expect(floor.scheduler.memoryBytes == 0 && floor.scheduler.waiting.total == 0)
        #expect(floor.scheduler.accounts.allSatisfy { !$0.isActive && $0.memoryBytes == 0 && $0.waiting.total == 0 })
    }
}
