// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom
import Testing

@testable import JobProtocol

/// Of QUERY, ANSWER, STOP and STOPPED one of each sort, and with all that they can hold.
let allRequests: [Message] = [
    .query(.worker), .query(.counters), .query(.tenants(after: nil)), .query(.tenants(after: .user(0))),
    .query(.tenants(after: .unnamed)), .query(.jobs(after: nil)), .query(.jobs(after: .max)),
    .answer(.worker(WorkerReport())), .answer(.worker(everyWorkerReport)), .answer(.tenants([], more: false)),
    .answer(.tenants(fewTenants, more: true)), .answer(.jobs([], more: false)), .answer(.jobs(fewJobs, more: true)),
    .answer(.counters(CounterReport())), .answer(.counters(everyCounter)), .stop(.jobs([0, .max, 1])), .stop(.worker),
    .stop(.jobs((1...512).map { UInt64($0) })), .stopped(.jobs([.unknown])), .stopped(.jobs([.stopped, .unknown])),
    .stopped(.worker(drains: true)), .stopped(.worker(drains: false)), .query(.detached(after: nil)),
    .query(.detached(after: .max)), .answer(.detached([], more: false)), .answer(.detached(fewDetached, more: true)),
    .stop(.keeping([0, .max, 1])), .stopped(.keeping([.stopped, .unknown, .unfinished])),
]

private let fewDetached: [DetachedJob] = {
    var job = DetachedJob(id: 7, tenant: .user(1000), state: .ended)
    (job.run, job.outcome, job.acceptedAt, job.endedAt, job.outputBytes) = (.max, 15, .max, 1, .max)
    (job.title, job.key) = (String(repeating: "€", count: 42) + "ab", String(repeating: "é", count: 64))
    return [DetachedJob(id: 0, tenant: .unnamed, state: .waiting), job]
}()

private let everyWorkerReport: WorkerReport = {
    var report = WorkerReport()
    (report.software, report.backend) = (String(repeating: "é", count: 64), "KVM 12")
    (report.uptimeNanoseconds, report.slots, report.running, report.queued, report.paused) = (.max, 1, 2, 3, 4)
    (report.connections, report.tenants, report.memoryLimit, report.memoryBytes) = (5, .max, 6, .max)
    (report.finished, report.failed, report.isDraining, report.isOperator) = (7, 8, true, true)
    report.confinement = [.systemCalls, .files, Confinement(rawValue: 0x80)]
    return report
}()

private let fewTenants: [TenantReport] = {
    var report = TenantReport(.user(1000))
    (report.connections, report.queued, report.running, report.paused) = (1, 2, 3, .max)
    (report.memoryBytes, report.bytesInFlight, report.keptBytes, report.slotNanoseconds) = (4, 5, 6, .max)
    (report.finished, report.failed, report.refused) = (7, 8, 9)
    return [TenantReport(.user(0)), report, TenantReport(.unnamed)]
}()

private let fewJobs: [ListedJob] = {
    var job = ListedJob(id: 7, tenant: .user(1000), state: .running, mode: .linux)
    (job.process, job.priority, job.memoryBytes, job.queueNanoseconds) = (12, 9, 1 << 20, 5)
    (job.runNanoseconds, job.title) = (0, String(repeating: "€", count: 42) + "ab")
    let states = ListedJob.State.allCases
    return [ListedJob(id: 0, tenant: .unnamed, state: .queued, mode: .real16), job]
        + states.enumerated().map { ListedJob(id: 8 + UInt64($0), tenant: .user(0), state: $1, mode: .user64) }
}()

private let everyCounter: CounterReport = {
    var report = CounterReport()
    report.samples = CounterSample.Kind.allCases.flatMap { kind in
        [CounterSample(kind, 1), CounterSample(kind, label: .max, .max)]
    }
    report.histograms = TimeHistogram.Kind.allCases.map { TimeHistogram($0) }
    report.histograms[0].add(1)
    report.histograms[1].add(.max)
    return report
}()

@Suite struct ControlCodecTests {
    private func page(_ answer: Answer, _ limit: UInt32) throws -> Answer {
        let frame = answer.frame(frameLimit: limit)
        #expect(frame.header.length <= limit)
        guard case .answer(let back) = try Message(frame: frame) else { return answer }
        return back
    }

    private static let longJobs = (1...300).map { number in
        var job = ListedJob(id: UInt64(number), tenant: .user(1), state: .queued, mode: .real16)
        job.title = String(repeating: "t", count: 200)
        return job
    }

    @Test(arguments: [4096, 8192, 65_536, 1 << 20] as [UInt32])
    func `a page has as many jobs as fit in a frame, and says that there are more`(limit: UInt32) throws {
        guard case .jobs(let jobs, let more) = try page(.jobs(Self.longJobs, more: false), limit) else { return }
        #expect(jobs.map(\.id) == (1...UInt64(jobs.count)).map { $0 })
        #expect(jobs.allSatisfy { $0.title.utf8.count == 128 })
        #expect(more && jobs.count == min(256, (Int(limit) - 26) / 172))
    }

    @Test(arguments: [4096, 65_536] as [UInt32])
    func `a page has as many tenants as fit in a frame`(limit: UInt32) throws {
        let tenants = (0..<300).map { TenantReport(.user($0)) }
        guard case .tenants(let some, true) = try page(.tenants(tenants, more: false), limit) else {
            Issue.record("it is said that these are all")
            return
        }
        #expect(some.count == min(256, (Int(limit) - 26) / 80))
        let few = Answer.tenants(Array(tenants.prefix(20)), more: false)
        #expect(try page(few, limit) == few)
    }

    @Test func `of counters too many for a frame the first are told, and all histograms`() throws {
        var report = everyCounter
        report.samples = (0..<600).reversed().map { CounterSample(.jobsEnded, label: $0, 1) }
        guard case .counters(let small) = try page(.counters(report), 4096),
            case .counters(let large) = try page(.counters(report), 65_536)
        else { return }
        #expect(small.histograms == report.histograms && large.histograms == report.histograms)
        #expect(small.samples.map(\.label) == (0..<UInt16((4096 - 26 - 2 * 84) / 12)).map { $0 })
        #expect(large.samples.count == CounterSample.limit)
    }

    @Test func `samples and histograms of other kinds are skipped`() throws {
        let bytes = """
            0001 00000001 04  0032 00000018 0002 0001 0000000000000005 7fff 0000 0000000000000006
            0033 0000001c 7fff 0002 0000000000000001 0000000000000002 0000000000000003
            """
        let frame = try #require(try frames(hex("00000047 31 00 0000 00000000") + hex(bytes), chunk: 9).first)
        guard case .answer(.counters(let report)) = try Message(frame: frame) else { return }
        #expect(report.samples == [CounterSample(.jobsEnded, label: 1, 5)] && report.histograms.isEmpty)
    }
}

@Suite struct ServerRequestTests {
    private func session(frameLimit: UInt32 = 4096) -> ServerSession {
        var session = ServerSession(terms: .test)
        _ = session.open() + session.receive(Message.hello(Hello(frameLimit: frameLimit, window: 0)).frame)
        return session
    }

    private let query = Message.query(.worker).frame

    private func answered(_ actions: [ServerAction]) throws -> [Message] {
        for case .send in actions { Issue.record("an answer is sent as such") }
        return try sent(actions)
    }

    @Test func `a query is answered, and the next one asked when the answer is written`() throws {
        var session = session()
        #expect(session.receive(query) == [.query(.worker)])
        #expect(session.receive(Message.stop(.jobs([7, 8])).frame).isEmpty, "not before the first is answered")
        #expect(session.receive(Message.query(.jobs(after: 3)).frame).isEmpty)
        #expect(session.answerWritten().isEmpty, "nothing is being written")
        #expect(try answered(session.answer(.worker(WorkerReport()))) == [.answer(.worker(WorkerReport()))])
        #expect(session.answer(.worker(WorkerReport())).isEmpty, "it has its answer")
        #expect(session.answerWritten() == [.stop(.jobs([7, 8]))])
        #expect(session.answerWritten().isEmpty)
        let stopped = StopAnswer.jobs([.stopped, .unknown])
        #expect(try answered(session.stopAnswered(stopped)) == [.stopped(stopped)])
        #expect(session.answerWritten() == [.query(.jobs(after: 3))])
        #expect(try answered(session.answer(.jobs([], more: false))) == [.answer(.jobs([], more: false))])
        #expect(session.answerWritten().isEmpty)
        #expect(session.receive(query) == [.query(.worker)])
    }

    @Test func `who asks and does not read is asked one thing, and told off beyond the limit`() throws {
        var session = session()
        #expect(session.receive(query) == [.query(.worker)])
        _ = session.answer(.worker(WorkerReport()))
        // The answer is not written: nothing else comes up, whatever is asked.
        for _ in 0..<ServerSession.requestLimit { #expect(session.receive(query).isEmpty) }
        let actions = session.receive(query)
        guard case .error(job: 0, let report)? = try sent(actions).first else {
            Issue.record("no ERROR")
            return
        }
        #expect(report.knownCode == .windowExceeded && report.frameType == 0x30)
        #expect(report.limit == 16 && report.value == 17)
        #expect(session.answerWritten().isEmpty, "nothing is answered any more")
        #expect(session.answer(.worker(WorkerReport())).isEmpty)
    }

    @Test func `a client that keeps to the limit is never told off, however late its answers are written`() throws {
        var session = session()
        var (asked, answered) = (0, 0)
        for _ in 0..<ServerSession.requestLimit {
            asked += session.receive(query).count
        }
        for _ in 0..<1000 {
            #expect(session.answer(.worker(WorkerReport())).count == 1)
            answered += 1
            // The client has read that answer and asks again before the worker has heard that it is written.
            #expect(session.receive(query).isEmpty)
            asked += session.answerWritten().count
        }
        #expect(asked == answered + 1)
    }

    @Test(arguments: [
        Answer.counters(CounterReport()), .jobs([], more: true),
        .jobs([ListedJob(id: 5, tenant: .unnamed, state: .queued, mode: .real16)], more: false),
    ])
    func `an answer to something else is the worker's own fault`(answer: Answer) throws {
        var session = session()
        #expect(session.receive(Message.query(.jobs(after: 5)).frame) == [.query(.jobs(after: 5))])
        guard case .error(job: 0, let report)? = try sent(session.answer(answer)).first else {
            Issue.record("no ERROR")
            return
        }
        #expect(report.knownCode == .internal)
    }

    @Test func `requests of a client that has left are forgotten`() {
        var session = session()
        _ = session.receive(query) + session.receive(Message.stop(.worker).frame)
        #expect(session.inputClosed() == [.close])
        #expect(session.answer(.worker(WorkerReport())).isEmpty && session.answerWritten().isEmpty)
    }

    @Test func `a draining worker still answers`() throws {
        var session = session()
        let spec = Submit(JobSpec(), imageBytes: 1)
        _ = session.receive(Message.submit(job: 1, spec).frame)
        _ = session.receive(Message.image(job: 1, StreamChunk(offset: 0, bytes: [0xF4], isEnd: true)).frame)
        _ = session.accepted(1, Acceptance()) + session.goAway(.drain)
        #expect(session.receive(Message.stop(.worker).frame) == [.stop(.worker)])
        #expect(try sent(session.stopAnswered(.worker(drains: true))) == [.stopped(.worker(drains: true))])
    }

    @Test func `a worker that leaves answers what it is looking at, and closes`() throws {
        var session = session()
        _ = session.receive(Message.stop(.worker).frame) + session.receive(query)
        #expect(orders(session.goAway(.drain)).isEmpty, "the stop has no answer yet")
        let end = session.stopAnswered(.worker(drains: true))
        #expect(try sent(end) == [.stopped(.worker(drains: true))] && end.last == .close)
        #expect(session.answerWritten().isEmpty && session.receive(query).isEmpty)
    }

    @Test func `requests at random are each asked once, in order, and one at a time`() throws {
        var random = SplitMix64(state: 6)
        for _ in 0..<300 {
            var session = session()
            var (came, asked, unsaid) = ([Message](), [Message](), 0)
            for _ in 0..<200 {
                var actions: [ServerAction] = []
                switch random.next() % 4 {
                case 0 where came.count - asked.count + unsaid < ServerSession.requestLimit:
                    let next = [Message.query(.worker), .query(.counters), .stop(.jobs([random.next()]))][
                        Int(random.next() % 3)]
                    came.append(next)
                    actions = session.receive(next.frame)
                case 1: actions = session.answerWritten()
                case 2 where unsaid > 0: actions = answer(&session, try #require(asked.last))
                default: continue
                }
                for action in actions {
                    switch action {
                    case .query(let query): (asked, unsaid) = (asked + [.query(query)], unsaid + 1)
                    case .stop(let request): (asked, unsaid) = (asked + [.stop(request)], unsaid + 1)
                    case .sendAnswer: unsaid -= 1
                    default: Issue.record("\(action)")
                    }
                    #expect(0...1 ~= unsaid, "no more than one is with the worker")
                }
            }
            #expect(asked == Array(came.prefix(asked.count)))
        }
    }

    private func answer(_ session: inout ServerSession, _ request: Message) -> [ServerAction] {
        switch request {
        case .query(.counters): session.answer(.counters(CounterReport()))
        case .stop(.jobs(let ids)): session.stopAnswered(.jobs(ids.map { _ in .unknown }))
        default: session.answer(.worker(WorkerReport()))
        }
    }

    @Test func `a wait of nothing is refused, and what is said of the queue comes to the worker`() throws {
        var session = session()
        var submit = Submit(JobSpec(), imageBytes: 1)
        submit.waitBudget = 0
        guard case .error(job: 1, let report)? = try sent(session.receive(Message.submit(job: 1, submit).frame)).first
        else {
            Issue.record("no refusal")
            return
        }
        #expect(report.knownCode == .budgetRange && report.limit == 1 && report.value == 0)
        (submit.waitBudget, submit.priority) = (1, 0)
        _ = session.receive(Message.submit(job: 2, submit).frame)
        let image = Message.image(job: 2, StreamChunk(offset: 0, bytes: [0xF4], isEnd: true))
        guard case .submit(job: 2, let spec, _)? = session.receive(image.frame).first else {
            Issue.record("no job")
            return
        }
        #expect(spec.priority == 0 && spec.waitLimit == 1)
    }

    @Test func `a refusal tells the limit's name and when to try again`() throws {
        var session = session()
        _ = session.receive(Message.submit(job: 1, Submit(JobSpec(), imageBytes: 1)).frame)
        let refusal = Refusal(
            .tenantLimit, "this user has 4 jobs", limit: 4, value: 5, limitName: "tenant-queued-jobs",
            retryNanoseconds: 6)
        guard case .error(job: 1, let report)? = try sent(session.refused(1, refusal)).first else {
            Issue.record("no refusal")
            return
        }
        #expect(report.knownCode == .tenantLimit && report.isRetryable == true)
        #expect(report.limitName == "tenant-queued-jobs" && report.retryNanoseconds == 6)
    }

    @Test func `a connection too many is told whose limit it is`() throws {
        let bytes = ServerSession.tooManyConnections(limit: 4, name: "tenant-connections")
        let frame = try #require(try frames(bytes, chunk: 7).first)
        guard case .error(job: 0, let report) = try Message(frame: frame) else { return }
        #expect(report.knownCode == .tooManyConnections && report.isRetryable == true)
        #expect(report.limitName == "tenant-connections" && report.limit == 4)
    }
}

@Suite struct ClientRequestTests {
    private func ready(frameLimit: UInt32 = 65_536) -> ClientSession {
        var session = ClientSession(software: "test")
        var terms = WorkerTerms.test
        terms.frameLimit = frameLimit
        _ = session.receive(Message.hello(terms.hello).frame)
        return session
    }

    private func ask(_ session: inout ClientSession, _ query: Query) throws -> [Message] {
        let actions = session.query(query)
        return try sent(#require(actions))
    }

    private func failure(_ actions: [ClientAction]) -> ErrorCode? {
        for case .protocolFailed(let error) in actions { return error.code }
        return nil
    }

    @Test func `answers come in the order of asking`() throws {
        var session = ready()
        #expect(try ask(&session, .worker) == [.query(.worker)])
        let stop = session.stop(.jobs([5]))
        #expect(try sent(#require(stop)) == [.stop(.jobs([5]))])
        let answer = Message.answer(.worker(everyWorkerReport)).frame
        guard case .answered(.worker(let report))? = session.receive(answer).first,
            case .stopped(.jobs([.stopped]))? = session.receive(Message.stopped(.jobs([.stopped])).frame).first
        else {
            Issue.record("no answers")
            return
        }
        #expect(report == everyWorkerReport)
    }

    @Test func `no more is sent than the worker takes, and the rest when it answers`() throws {
        var session = ready()
        var sentCount = 0
        for _ in 0..<40 { sentCount += try ask(&session, .worker).count }
        #expect(sentCount == ServerSession.requestLimit)
        let answer = Message.answer(.worker(WorkerReport())).frame
        for index in 0..<40 {
            let actions = session.receive(answer)
            #expect(try sent(actions).count == (index < 40 - ServerSession.requestLimit ? 1 : 0))
        }
        #expect(failure(session.receive(answer)) == .unexpectedFrame, "nobody has asked any more")
    }

    @Test func `nothing is asked of a worker that is not there, or not any more`() {
        var early = ClientSession(software: "test")
        #expect(early.query(.worker) == nil)
        var late = ready()
        _ = late.connectionClosed()
        #expect(late.query(.worker) == nil && late.stop(.worker) == nil)
        var failed = ready()
        _ = failed.receive(Message.error(job: 0, ErrorReport(code: 21)).frame)
        #expect(failed.stop(.worker) == nil)
        var draining = ready()
        _ = draining.receive(Message.goAway(GoAway(.drain)).frame)
        #expect(draining.query(.worker) != nil, "it answers as long as it is there")
    }

    struct Wrong: Sendable, CustomTestStringConvertible {
        var query: Query
        var answer: Message
        var testDescription: String { "\(answer) to \(query)" }
    }

    private static func job(_ id: UInt64) -> ListedJob {
        ListedJob(id: id, tenant: .unnamed, state: .queued, mode: .real16)
    }

    @Test(arguments: [
        Wrong(query: .worker, answer: .answer(.counters(CounterReport()))),
        Wrong(query: .worker, answer: .stopped(.worker(drains: true))),
        Wrong(query: .jobs(after: nil), answer: .answer(.jobs([], more: true))),
        Wrong(query: .jobs(after: 5), answer: .answer(.jobs([job(5)], more: false))),
        Wrong(query: .tenants(after: .user(7)), answer: .answer(.tenants([TenantReport(.user(1))], more: true))),
        Wrong(query: .tenants(after: .unnamed), answer: .answer(.tenants([TenantReport(.unnamed)], more: false))),
    ])
    func `an answer to something else ends the connection`(wrong: Wrong) throws {
        var session = ready()
        _ = try ask(&session, wrong.query)
        #expect(failure(session.receive(wrong.answer.frame)) == .unexpectedFrame)
    }

    @Test(arguments: [StopAnswer.jobs([.stopped]), .jobs([.stopped, .stopped, .unknown]), .worker(drains: true)])
    func `a stop is answered for each of its jobs`(answer: StopAnswer) throws {
        var session = ready()
        _ = session.stop(.jobs([1, 2]))
        #expect(failure(session.receive(Message.stopped(answer).frame)) == .unexpectedFrame)
    }

    @Test func `a request fits in the worker's frame`() throws {
        #expect(ready().largestStop == 512)
        var small = ready(frameLimit: 4096)
        #expect(small.largestStop == 511)
        let actions = small.stop(.jobs((0..<511).map { UInt64($0) }))
        guard case .send(let bytes)? = actions?.first else { return }
        #expect(bytes.count - FrameHeader.size == 6 + 511 * 8)
    }

    @Test func `a priority that there is not is refused here`() throws {
        var session = ready()
        var spec = JobSpec()
        spec.priority = 10
        let submitted = session.submit(spec, image: [0xF4])
        guard case .refused(job: 1, let report)? = submitted?.actions.first else {
            Issue.record("it was sent")
            return
        }
        #expect(report.knownCode == .invalidField && report.limit == 9 && report.value == 10)
    }
}
