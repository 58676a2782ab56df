// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import JobScheduling
import KVMJobClient
import NIOConcurrencyHelpers
import Testing

@testable import Worker

extension Masquerade {
    fileprivate func report() async throws -> WorkerReport {
        guard case .worker(let report) = try await answer(.worker, to: 0) else { throw WrongAnswer() }
        return report
    }

    fileprivate func jobs(of user: UInt32?, after: UInt64? = nil) async throws -> (jobs: [ListedJob], more: Bool) {
        guard case .jobs(let jobs, let more) = try await answer(.jobs(after: after), to: user) else {
            throw WrongAnswer()
        }
        return (jobs, more)
    }

    fileprivate func tenants(of user: UInt32?) async throws -> [TenantReport] {
        guard case .tenants(let tenants, _) = try await answer(.tenants(after: nil), to: user) else {
            throw WrongAnswer()
        }
        return tenants
    }

    fileprivate func counters() async throws -> [CounterSample] {
        guard case .counters(let report) = try await answer(.counters, to: nil) else { throw WrongAnswer() }
        return report.samples
    }

    fileprivate struct WrongAnswer: Error {}
}

/// A worker that several users share.
@Suite("Tenants", .enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(2)))
struct SharingTests {
    /// jmp $
    private let endless: [UInt8] = [0xEB, 0xFE]
    /// hlt
    private let halt: [UInt8] = [0xF4]

    private func lasting(_ time: Duration, label: String = "") -> JobSpec {
        JobSpec(label: label, budget: Budget(wallTime: time))
    }

    private func finished(_ samples: [CounterSample], _ number: OutcomeNumber) -> UInt64? {
        samples.first { $0.kind == .jobsEnded && $0.label == UInt16(number.rawValue) }?.value
    }

    // MARK: Slots

    @Test(arguments: [1, 2]) func `a job of somebody else starts within two turns of the slots, however many wait`(
        slots: Int
    ) async throws {
        let worker = try await Masquerade(slots: slots)
        let hog = try await worker.client(of: 1000), guest = try await worker.client(of: 1001)
        var waiting: [RunningJob] = []
        for _ in 0..<250 { waiting.append(try await hog.submit(lasting(.milliseconds(20)), image: endless)) }
        _ = try await waiting[4].result()
        let job = try await guest.submit(lasting(.milliseconds(20)), image: halt)
        let before = try await worker.report().finished
        _ = try await job.started()
        #expect(try await worker.report().finished - before <= UInt64(2 * slots))
        #expect(try await job.result().outcome == .halted)
        #expect(try await worker.tenants(of: 1001).map(\.finished) == [1])
    }

    @Test func `of one user's jobs the higher priority goes first`() async throws {
        let worker = try await Masquerade()
        let client = try await worker.client(of: 1000)
        let first = try await client.submit(lasting(.seconds(60)), image: endless)
        _ = try await first.started()
        let order = NIOLockedValueBox<[UInt8]>([])
        try await withThrowingTaskGroup(of: Void.self) { group in
            for priority in [0, 5, 9] as [UInt8] {
                var spec = JobSpec()
                spec.priority = priority
                let job = try await client.submit(spec, image: halt)
                group.addTask {
                    _ = try await job.started()
                    order.withLockedValue { $0.append(priority) }
                }
            }
            first.cancel()
            try await group.waitForAll()
        }
        #expect(order.withLockedValue { $0 } == [9, 5, 0])
    }

    @Test func `a job that has waited for as long as it may ends as such, and never starts`() async throws {
        let worker = try await Masquerade()
        let client = try await worker.client(of: 1000)
        let first = try await client.submit(lasting(.seconds(60)), image: endless)
        _ = try await first.started()
        var spec = JobSpec()
        spec.waitLimit = 1_000_000
        // The first of them the slot's line has, the others the queue.
        var jobs: [RunningJob] = []
        for _ in 0..<3 { jobs.append(try await client.submit(spec, image: halt)) }
        for job in jobs {
            #expect(try await job.result().outcome == .waitExpired(limit: 1_000_000))
            #expect(try await job.started() == nil)
        }
        spec.waitLimit = .max
        let patient = try await client.submit(spec, image: halt)
        first.cancel()
        #expect(try await patient.result().outcome == .halted)
        #expect(finished(try await worker.counters(), .waitExpired) == 3)
    }

    // MARK: Bounds

    @Test func `no more jobs run than there is memory for, whatever the slots`() async throws {
        let most = 2 * (JobSpec.defaultMemoryBytes + WorkerLimits.machineOverhead)
        let worker = try await Masquerade(slots: 4, limits: WorkerLimits(runningMemoryBytes: most))
        let client = try await worker.client(of: 1000)
        var jobs: [RunningJob] = []
        for _ in 0..<6 { jobs.append(try await client.submit(lasting(.milliseconds(30)), image: endless)) }
        _ = try await jobs[1].started()
        for job in jobs {
            let report = try await worker.report()
            #expect(report.running <= 2 && report.memoryBytes <= most)
            _ = try await job.result()
        }
        var large = JobSpec()
        large.memoryBytes = most
        let refusal = await #expect(throws: JobClientError.self) { try await client.submit(large, image: halt) }
        #expect(refusal?.refusal?.name == "memory-size")
        #expect(try await worker.report().memoryBytes == 0)
    }

    @Test func `a user who has as many waiting jobs as one may is refused by name, and others are not`() async throws {
        let worker = try await Masquerade(limits: WorkerLimits(tenant: TenantLimits(queuedJobs: 2)))
        let hog = try await worker.client(of: 1000), guest = try await worker.client(of: 1001)
        for _ in 0..<3 { _ = try await hog.submit(lasting(.seconds(60)), image: endless) }
        let refusal = await #expect(throws: JobClientError.self) { try await hog.submit(JobSpec(), image: halt) }
        #expect(refusal?.refusal?.name == "tenant-limit")
        _ = try await guest.submit(JobSpec(), image: halt)
        #expect(try await worker.tenants(of: 1000).map(\.refused) == [1])
        #expect(try await worker.counters().first { $0.kind == .jobsRefused }?.label == ErrorCode.tenantLimit.rawValue)
    }

    @Test func `a user's images on their way are bounded, and leave room for others'`() async throws {
        let worker = try await Masquerade(limits: WorkerLimits(tenant: TenantLimits(bytesInFlight: 150_000)))
        let large = Image([UInt8](repeating: 0x90, count: 100_000))
        let one = try await worker.connect(as: 1000), other = try await worker.connect(as: 1000)
        one.announce(large)
        while try await worker.tenants(of: 1000).first?.bytesInFlight != 100_000 {}
        #expect(try await other.run(large).refusal == .tenantLimit)
        #expect(try await worker.connect(as: 1001).run(large).refusal == nil)
    }

    @Test func `an image that one user could never bring is refused for good`() async throws {
        let worker = try await Masquerade(limits: WorkerLimits(tenant: TenantLimits(bytesInFlight: 1000)))
        let client = try await worker.client(of: 1000)
        let image = [UInt8](repeating: 0xF4, count: 1001)
        let refusal = await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: image) }
        #expect(refusal?.refusal?.name == "image-too-large" && refusal?.isRetryable == false)
        #expect(try await client.submit(JobSpec(), image: Array(image.dropLast())).result().outcome == .halted)
    }

    @Test func `a user has as many connections as one may, and others have theirs`() async throws {
        let worker = try await Masquerade(limits: WorkerLimits(tenant: TenantLimits(connections: 1)))
        let client = try await worker.client(of: 1000)
        await #expect(throws: JobClientError.self) { try await worker.client(of: 1000) }
        _ = try await worker.client(of: 1001).submit(JobSpec(), image: halt)
        await client.shutdown()
        while try await worker.tenants(of: 1000).contains(where: { $0.connections > 0 }) {}
        _ = try await worker.client(of: 1000).submit(JobSpec(), image: halt)
    }

    @Test func `what is kept for a user is bounded`() async throws {
        let worker = try await Masquerade(limits: WorkerLimits(tenant: TenantLimits(knownImageBytes: 50_000)))
        let client = try await worker.connect(as: 1000)
        for letter in 0..<4 as Range<UInt8> {
            _ = try await client.run(Image([0xF4, letter] + [UInt8](repeating: 0, count: 20_000)).hashed)
        }
        let kept = try await worker.tenants(of: 1000).first?.keptBytes ?? 0
        #expect(kept > 20_000 && kept <= 150_000, "each of three kinds of things")
    }

    // MARK: Who sees and stops what

    @Test func `users see their own jobs, operators everybody's`() async throws {
        let worker = try await Masquerade(operators: [77])
        var clients: [JobClient] = []
        for user in [1000, 1001] as [UInt32] {
            let client = try await worker.client(of: user)
            clients.append(client)
            var spec = lasting(.seconds(60), label: "of \(user)")
            spec.priority = 7
            let job = try await client.submit(spec, image: endless)
            if user == 1000 { _ = try await job.started() }
        }
        let own = try await worker.jobs(of: 1001)
        #expect(
            own.jobs.map(\.title) == ["of 1001"] && own.jobs.first?.state == .queued && own.jobs.first?.priority == 7)
        #expect(try await worker.tenants(of: 1001).map(\.tenant) == [.user(1001)])
        #expect(try await worker.jobs(of: 1002).jobs.isEmpty)
        for user in [0, 77] as [UInt32] {
            #expect(try await worker.jobs(of: user).jobs.map(\.state) == [.running, .queued])
            #expect(try await worker.tenants(of: user).map(\.tenant) == [.user(1000), .user(1001)])
        }
        guard case .worker(let report) = try await worker.answer(.worker, to: 1001) else { return }
        #expect(!report.isOperator && report.running == 1 && report.queued == 1 && report.slots == 1)
        for client in clients { await client.shutdown() }
    }

    @Test func `users stop their own jobs, operators everybody's, and nobody learns of others' by trying`() async throws
    {
        let worker = try await Masquerade(operators: [77])
        let client = try await worker.client(of: 1000)
        let jobs = [
            try await client.submit(lasting(.seconds(60)), image: endless),
            try await client.submit(JobSpec(), image: halt),
        ]
        _ = try await jobs[0].started()
        let ids = try await worker.jobs(of: 1000).jobs.map(\.id)
        #expect(try await worker.stop(.jobs(ids + [999]), by: 1001) == .jobs([.unknown, .unknown, .unknown]))
        #expect(try await worker.stop(.jobs([ids[1]]), by: 1000) == .jobs([.stopped]))
        #expect(try await jobs[1].result().outcome == .cancelled(by: .user))
        #expect(try await worker.stop(.jobs(ids), by: 77) == .jobs([.stopped, .unknown]))
        #expect(try await jobs[0].result().outcome == .cancelled(by: .operator))
    }

    @Test func `only an operator drains, and only a worker that may leave`() async throws {
        let worker = try await Masquerade(operators: [77])
        #expect(try await worker.stop(.worker, by: 77) == .worker(drains: false), "nobody handles it")
        let asked = NIOLockedValueBox(0)
        try await worker.letDrain { asked.withLockedValue { $0 += 1 } }
        #expect(try await worker.stop(.worker, by: 1000) == .worker(drains: false))
        #expect(asked.withLockedValue { $0 } == 0)
        #expect(try await worker.stop(.worker, by: 77) == .worker(drains: true))
        #expect(asked.withLockedValue { $0 } == 1)
    }

    @Test func `long lists come a page at a time`() async throws {
        let worker = try await Masquerade()
        var clients: [JobClient] = []
        for _ in 0..<2 {
            let client = try await worker.client(of: 1000)
            clients.append(client)
            for _ in 0..<200 { _ = try await client.submit(lasting(.seconds(60)), image: endless) }
        }
        let first = try await worker.jobs(of: 1000)
        #expect(first.jobs.count == Answer.recordLimit && first.more)
        let last = try #require(first.jobs.last).id
        let second = try await worker.jobs(of: 1000, after: last)
        #expect(second.jobs.count == 400 - Answer.recordLimit && !second.more)
        #expect((first.jobs + second.jobs).map(\.id) == Array(1...400))
    }

    // MARK: Counts

    @Test func `what is counted adds up`() async throws {
        let worker = try await Masquerade()
        let client = try await worker.client(of: 1000)
        for _ in 0..<5 { _ = try await client.submit(JobSpec(budget: Budget(steps: 10)), image: halt).result() }
        _ = try await client.submit(lasting(.milliseconds(1)), image: endless).result()
        let samples = try await worker.counters()
        func value(_ kind: CounterSample.Kind) -> UInt64 { samples.first { $0.kind == kind }?.value ?? 0 }
        #expect(value(.jobsAccepted) == 6 && value(.steps) == 5)
        #expect(finished(samples, .halted) == 5 && finished(samples, .wallTimeExhausted) == 1)
        #expect(value(.machinesMade) + value(.machinesReset) == 6 && value(.machinesReset) >= 4)
        let tenant = try #require(try await worker.tenants(of: 1000).first)
        #expect(tenant.finished == 6 && tenant.failed == 1 && tenant.slotNanoseconds > 0 && tenant.memoryBytes == 0)
        guard case .counters(let report) = try await worker.answer(.counters, to: 1000) else { return }
        #expect(report.histograms.map { $0.counts.reduce(0, +) } == [6, 6])
    }
}

/// The plan of a worker's memory.
@Suite struct MemoryPlanTests {
    @Test(arguments: [64, 256, 1000, 4096, 65_536] as [UInt64]) func `all bounds together fit in`(mebibytes: UInt64) {
        var limits = WorkerLimits()
        limits.fit(into: mebibytes << 20)
        let rest =
            limits.keptMemoryBytes + limits.pausedMemoryBytes + limits.snapshotBytes
            + UInt64(limits.queuedImageBytes + limits.uploadBytes + limits.knownImageBytes)
            + UInt64(limits.fileTreeBytes + limits.startingPointBytes)
        #expect(rest + limits.runningMemoryBytes <= mebibytes << 20)
        #expect(limits.runningMemoryBytes >= mebibytes << 19)
        #expect(limits.largestGuest >= 1 << 20 && limits.largestGuest % 4096 == 0)
    }

    @Test func `this machine has some memory, and a worker takes half`() {
        #expect(WorkerLimits.defaultMemoryBytes >= WorkerLimits.leastMemoryBytes)
    }
}

@Suite struct JobRosterTests {
    @Test func `pages hold what is there, in order, whatever has gone`() {
        var roster = JobRoster()
        var there: Set<JobKey> = []
        for number in 1...1000 as ClosedRange<UInt64> {
            roster.insert(JobKey(number))
            there.insert(JobKey(number))
            guard number % 3 != 0 else { continue }
            there.remove(JobKey(number))
            roster.noteRemoval { there.contains($0) }
        }
        var (listed, after): ([JobKey], JobKey) = ([], JobKey(0))
        while true {
            let page = roster.page(after: after, atMost: 10) { there.contains($0) }
            listed += page.keys
            guard page.more, let last = page.keys.last else { break }
            after = last
        }
        #expect(listed == there.sorted() && roster.count == 333)
    }
}
