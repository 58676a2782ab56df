// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import FrameStreams
import JobModel
import JobProtocol
import JobTransport
import KVMJobClient
import NIOCore
import NIOPosix
import Testing

private func job(_ id: UInt64) -> ListedJob {
    var job = ListedJob(id: id, tenant: .user(1000), state: .queued, mode: .linux)
    job.title = "job \(id)"
    return job
}

private func tenant(_ user: UInt32) -> TenantReport {
    var report = TenantReport(.user(user))
    report.queued = user
    return report
}

/// A worker with five jobs of three users, two to a page, of which it stops those with odd ids.
private let populated: ScriptedWorker.Script = { order, session in
    switch order {
    case .query(.worker):
        var report = WorkerReport()
        (report.software, report.slots, report.isOperator) = ("scripted", 3, true)
        return session.answer(.worker(report))
    case .query(.tenants(let after)):
        let rest = [tenant(0), tenant(7), TenantReport(.unnamed)].filter { after.map($0.tenant.isAbove) ?? true }
        return session.answer(.tenants(Array(rest.prefix(2)), more: rest.count > 2))
    case .query(.jobs(let after)):
        let rest = [3, 4, 9, 10, 11].filter { $0 > after ?? 0 }
        return session.answer(.jobs(rest.prefix(2).map(job), more: rest.count > 2))
    case .query(.counters):
        var report = CounterReport()
        report.samples = [CounterSample(.jobsEnded, label: 1, 5)]
        return session.answer(.counters(report))
    case .stop(.jobs(let ids)):
        return session.stopAnswered(.jobs(ids.map { $0.isMultiple(of: 2) ? .unknown : .stopped }))
    case .stop(.worker): return session.stopAnswered(.worker(drains: true))
    case .submit(let job, _, _):
        return session.accepted(job, Acceptance(id: 77, queuePosition: 2, waitNanoseconds: 5))
    case .query(.detached(let after)):
        let rest = [5, 6, 8].filter { $0 > after ?? 0 }.map { DetachedJob(id: $0, tenant: .user(7), state: .ended) }
        return session.answer(.detached(Array(rest.prefix(2)), more: rest.count > 2))
    case .stop(.keeping(let ids)):
        return session.stopAnswered(.keeping(ids.map { [.stopped, .unknown, .unfinished][Int($0 % 3)] }))
    case .lookUp, .lookUpLayers, .credit, .input, .cancel, .extend, .attach, .leave, .send, .sendAnswer, .stopReading,
        .close:
        return []
    }
}

extension Tenant {
    fileprivate func isAbove(_ other: Tenant) -> Bool { other < self }
}

@Suite(.timeLimit(.minutes(1))) struct ControlTests {
    @Test func `a worker tells of itself, its tenants, jobs and counts, page by page`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: populated)
        let report = try await client.workerReport()
        #expect(report.software == "scripted" && report.slots == 3 && report.isOperator)
        #expect(try await client.tenants() == [tenant(0), tenant(7), TenantReport(.unnamed)])
        #expect(try await client.jobs() == [3, 4, 9, 10, 11].map(job))
        #expect(try await client.counters().samples == [CounterSample(.jobsEnded, label: 1, 5)])
        #expect(try await client.drainWorker())
        #expect(try await worker.count(of: .query) == 1 + 2 + 3 + 1)
        await client.shutdown()
    }

    @Test func `jobs are stopped by their ids, as many as one likes`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: populated)
        let ids = (0..<1200).map { UInt64($0) }
        #expect(try await client.cancel(jobs: ids) == ids.map { $0.isMultiple(of: 2) ? .unknown : .stopped })
        #expect(try await client.cancel(jobs: []).isEmpty)
        #expect(try await worker.count(of: .stop) == 3, "512 in one")
        await client.shutdown()
    }

    @Test func `a job knows its number and how long it may wait`() async throws {
        let (client, _) = try await ScriptedWorker.connect(script: populated)
        let job = try await client.submit(JobSpec(), image: [1])
        #expect(job.acceptance == Acceptance(id: 77, queuePosition: 2, waitNanoseconds: 5) && job.queuePosition == 2)
        await client.shutdown()
    }

    @Test func `a refusal by a limit says which, and when to try again`() async throws {
        let (client, _) = try await ScriptedWorker.connect { order, session in
            guard case .submit(let job, _, _) = order else { return [] }
            return session.refused(
                job, Refusal(.tenantLimit, "no", limit: 4, limitName: "tenant-memory", retryNanoseconds: 9))
        }
        let error = await #expect(throws: JobClientError.self) { try await client.submit(JobSpec(), image: [1]) }
        #expect(error?.isRetryable == true && error?.refusal?.name == "tenant-limit")
        #expect(error?.refusal?.limitName == "tenant-memory" && error?.refusal?.retryNanoseconds == 9)
        await client.shutdown()
    }

    @Test func `many tasks ask at once and each gets its own answer`() async throws {
        let (client, worker) = try await ScriptedWorker.connect { order, session in
            switch order {
            case .query(.jobs(let after)): session.answer(.jobs([job((after ?? 0) + 1)], more: false))
            case .stop(.jobs(let ids)): session.stopAnswered(.jobs(ids.map { _ in .stopped }))
            default: []
            }
        }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<200 as Range<UInt64> {
                group.addTask {
                    if number.isMultiple(of: 5) {
                        let count = Int(number) + 1
                        return try await client.cancel(jobs: [UInt64](repeating: 1, count: count)).count == count
                    }
                    return try await client.query(.jobs(after: number)) == .jobs([job(number + 1)], more: false)
                }
            }
            for try await isRight in group { #expect(isRight) }
        }
        #expect(try await worker.requestsAsked() == 200)
        await client.shutdown()
    }

    @Test func `a task that is cancelled waits no longer, and its answer is nobody else's`() async throws {
        let (client, worker) = try await ScriptedWorker.connect { _, _ in [] }
        let waiting = Task { try await client.workerReport() }
        for await case .query(.worker) in worker.orders { break }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        let next = Task { try await client.jobs() }
        worker.act { $0.answer(.worker(WorkerReport())) }
        for await case .query(.jobs) in worker.orders { break }
        worker.act { $0.answer(.jobs([job(1)], more: false)) }
        #expect(try await next.value == [job(1)])
        await client.shutdown()
    }

    @Test func `a task that was cancelled before asks nothing`() async throws {
        let (client, worker) = try await ScriptedWorker.connect(script: populated)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await client.drainWorker()
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        _ = try await client.workerReport()
        #expect(try await worker.count(of: .stop) == 0)
        await client.shutdown()
    }

    @Test func `who waits for an answer learns that the connection is gone`() async throws {
        let (client, worker) = try await ScriptedWorker.connect { _, _ in [] }
        let waiting = (0..<40).map { _ in Task { try await client.workerReport() } }
        for await case .query(.worker) in worker.orders { break }
        worker.close()
        for task in waiting {
            let error = await #expect(throws: JobClientError.self) { try await task.value }
            #expect(error?.code == .connectionLost)
        }
        let late = await #expect(throws: JobClientError.self) { try await client.drainWorker() }
        #expect(late?.code == .connectionLost)
    }

    @Test func `shutdown fails who waits for an answer`() async throws {
        let (client, worker) = try await ScriptedWorker.connect { _, _ in [] }
        let waiting = Task { try await client.counters() }
        for await case .query(.counters) in worker.orders { break }
        await client.shutdown()
        let error = await #expect(throws: JobClientError.self) { try await waiting.value }
        #expect(error?.code == .shutDown)
    }

    @Test(arguments: [
        Message.answer(.worker(WorkerReport())), .answer(.jobs([], more: true)),
        .answer(.jobs([job(3)], more: false)), .stopped(.worker(drains: true)),
    ])
    func `an answer to something else is a protocol violation`(answer: Message) async throws {
        let (client, worker) = try await ScriptedWorker.connect { _, _ in [] }
        let waiting = Task { try await client.query(.jobs(after: 3)) }
        for await case .query in worker.orders { break }
        worker.send(answer.encode())
        let error = await #expect(throws: JobClientError.self) { try await waiting.value }
        #expect(error?.code == .protocolViolation)
    }
}

@Suite(.timeLimit(.minutes(1))) struct UnreadAnswerTests {
    @Test func `a client that asks and does not read costs what the socket holds and one answer`() async throws {
        let page = (1...UInt64(Answer.recordLimit)).map { id in
            var job = job(id)
            job.title = String(repeating: "t", count: 128)
            return job
        }
        let (ours, theirs) = try UnixSocket.connectedPair()
        let worker = try await ScriptedWorker(descriptor: ours) { order, session in
            if case .query = order { session.answer(.jobs(page, more: false)) } else { [] }
        }
        let arrivals = FrameCollector()
        let client = try await FramedSocket.adopt(
            descriptor: theirs, as: .client, frameLimit: FrameHeader.largestFrameLimit,
            on: MultiThreadedEventLoopGroup.singleton
        ) { channel, _ in try channel.pipeline.syncOperations.addHandler(arrivals) }
        try await client.setOption(.autoRead, value: false).get()
        let hello = Hello(frameLimit: FrameHeader.largestFrameLimit, window: 0)
        var bytes = ByteBuffer(bytes: Message.hello(hello).encode())
        let count = ServerSession.requestLimit
        for _ in 0..<count { bytes.writeBytes(Message.query(.jobs(after: nil)).encode()) }
        try await client.writeAndFlush(bytes)
        // All requests have come, and with them as many answers as there will be until the client reads.
        while try await worker.count(of: .query) < count {}
        let asked = try await worker.requestsAsked()
        #expect(asked >= 1 && asked < count, "an answer has 44 KiB; the sockets hold some, and no more than one waits")
        try await client.setOption(.autoRead, value: true).get()
        var answers = 0
        for await frame in arrivals.frames {
            guard case .answer(.jobs(let jobs, more: false)) = try Message(frame: frame) else { continue }
            #expect(jobs == page)
            answers += 1
            if answers == count { break }
        }
        #expect(try await worker.requestsAsked() == count)
        try await client.close()
    }
}
