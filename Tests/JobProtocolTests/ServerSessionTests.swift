// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom
import Testing

@testable import JobProtocol

@Suite struct ServerSessionTests {
    private func session(window: UInt32 = 100, terms: WorkerTerms = .test) -> ServerSession {
        var session = ServerSession(terms: terms)
        _ = session.open()
        _ = session.receive(Message.hello(Hello(frameLimit: 4096, window: window)).frame)
        return session
    }

    private func submit(
        _ session: inout ServerSession, _ job: UInt32, image: [UInt8] = [0xF4], input: Bool = false
    ) -> [ServerAction] {
        let spec = JobSpec(hasInput: input)
        let actions = session.receive(Message.submit(job: job, Submit(spec, imageBytes: UInt64(image.count))).frame)
        return actions
            + session.receive(Message.image(job: job, StreamChunk(offset: 0, bytes: image, isEnd: true)).frame)
    }

    /// Submits a job and lets it start.
    private func run(_ session: inout ServerSession, _ job: UInt32) {
        _ = submit(&session, job) + session.accepted(job, Acceptance(queuePosition: 0))
        _ = session.started(job, queueNanoseconds: 0)
    }

    private func fatal(_ actions: [ServerAction]) throws -> ErrorCode? {
        guard case .error(job: 0, let report)? = try sent(actions).first else { return nil }
        #expect(actions.dropFirst().first == .stopReading)
        return report.knownCode
    }

    private func refusal(_ actions: [ServerAction], of job: UInt32) throws -> ErrorCode? {
        guard case .error(job: job, let report)? = try sent(actions).first else { return nil }
        return report.knownCode
    }

    @Test func `the worker speaks first and says its terms`() throws {
        var session = ServerSession(terms: .test)
        guard case .hello(let hello)? = try sent(session.open()).first else {
            Issue.record("no HELLO")
            return
        }
        #expect(hello.window == 16 && hello.jobLimit == 3 && hello.imageLimit == 1000)
        let (exact, bounded) = (Hello.ModeOffer(mode: 1, meter: .exact), Hello.ModeOffer(mode: 4, meter: .bounded))
        #expect(hello.modes == [exact, bounded, .init(mode: 5, meter: .none)])
    }

    @Test func `a job goes from SUBMIT to RESULT`() throws {
        var session = session()
        let orders = submit(&session, 7)
        #expect(
            orders == [
                .submit(job: 7, spec: JobSpec(), source: .image(Image([0xF4]))), .credit(job: 7, bytes: 100),
            ])
        let acceptance = Acceptance(id: .max, queuePosition: 2, waitNanoseconds: 3)
        #expect(try sent(session.accepted(7, acceptance)) == [.accepted(job: 7, acceptance)])
        var started = Started()
        (started.queueNanoseconds, started.wallBudget, started.memoryBytes) = (5, 10_000_000_000, 16 << 20)
        #expect(try sent(session.started(7, queueNanoseconds: 5)) == [.started(job: 7, started)])
        #expect(
            try sent(session.output(7, .console, [1, 2]) + session.output(7, .portWrites, [3]))
                == [
                    .output(job: 7, .console, StreamChunk(offset: 0, bytes: [1, 2])),
                    .output(job: 7, .portWrites, StreamChunk(offset: 0, bytes: [3])),
                ])
        let result = JobResult(outcome: .halted)
        #expect(try sent(session.finished(7, result)) == [.result(job: 7, ResultReport(result))])
        #expect(session.finished(7, result).isEmpty, "one RESULT only")
        #expect(session.output(7, .console, [1]).isEmpty, "nothing after it")
        #expect(session.jobsInFlight == 0)
    }

    @Test func `a deterministic job's input has ended before its image, or the job is refused`() throws {
        var spec = JobSpec(hasInput: true)
        spec.isDeterministic = true
        for ends in [false, true] {
            var session = session()
            _ = session.receive(Message.submit(job: 1, Submit(spec, imageBytes: 1)).frame)
            _ = session.receive(Message.input(job: 1, StreamChunk(offset: 0, bytes: [1], isEnd: ends)).frame)
            let actions = session.receive(
                Message.image(job: 1, StreamChunk(offset: 0, bytes: [0xF4], isEnd: true)).frame)
            #expect(try refusal(actions, of: 1) == (ends ? nil : .invalidField))
            #expect(orders(actions).isEmpty == !ends)
            #expect(session.uploadBytes == 0)
        }
    }

    @Test func `input before the image is complete waits for it`() throws {
        var session = session(window: 0)
        _ = session.receive(Message.submit(job: 1, Submit(JobSpec(hasInput: true), imageBytes: 1)).frame)
        #expect(session.receive(Message.input(job: 1, StreamChunk(offset: 0, bytes: [1, 2])).frame).isEmpty)
        #expect(session.receive(Message.window(job: 1, Window(credit: 9)).frame).isEmpty)
        let orders = session.receive(Message.image(job: 1, StreamChunk(offset: 0, bytes: [0xF4], isEnd: true)).frame)
        #expect(
            orders == [
                .submit(job: 1, spec: JobSpec(hasInput: true), source: .image(Image([0xF4]))),
                .credit(job: 1, bytes: 9),
                .input(job: 1, bytes: [1, 2], end: false),
            ])
        #expect(
            session.receive(Message.input(job: 1, StreamChunk(offset: 2, bytes: [], isEnd: true)).frame)
                == [.input(job: 1, bytes: [], end: true)])
    }

    @Test func `credit for input comes back as the guest consumes it`() throws {
        var session = session()
        _ = submit(&session, 1, input: true)
        let all = StreamChunk(offset: 0, bytes: [UInt8](repeating: 1, count: 16))
        #expect(orders(session.receive(Message.input(job: 1, all).frame)).count == 1)
        #expect(try sent(session.inputConsumed(1, 8)) == [.window(job: 1, Window(credit: 8))])
        let beyond = StreamChunk(offset: 16, bytes: [UInt8](repeating: 1, count: 9))
        #expect(try fatal(session.receive(Message.input(job: 1, beyond).frame)) == .windowExceeded)
    }

    @Test func `output beyond the credit is our fault and is not sent`() throws {
        var session = session(window: 3)
        run(&session, 1)
        let messages = try sent(session.output(1, .console, [1, 2, 3, 4]))
        #expect(messages.first == .output(job: 1, .console, StreamChunk(offset: 0, bytes: [1, 2, 3])))
        guard case .error(job: 0, let report)? = messages.last else {
            Issue.record("no ERROR")
            return
        }
        #expect(report.knownCode == .internal)
    }

    @Test func `output is cut to what the client takes`() throws {
        var session = session(window: 100_000)
        run(&session, 1)
        let messages = try sent(session.output(1, .console, [UInt8](repeating: 9, count: 10_000)))
        #expect(messages.map(\.frame.payload.count) == [4096, 4096, 1844])
    }

    struct Wrong: Sendable, CustomTestStringConvertible {
        var code: ErrorCode
        var messages: [Message]
        var testDescription: String { "\(code.name): \(messages)" }

        init(_ code: ErrorCode, _ messages: Message...) { (self.code, self.messages) = (code, messages) }
    }

    private static let small = Message.submit(job: 5, Submit(mode: 1, imageBytes: 2))

    private static func image(_ bytes: [UInt8], at offset: UInt64 = 0, end: Bool = false) -> Message {
        .image(job: 5, StreamChunk(offset: offset, bytes: bytes, isEnd: end))
    }

    @Test(arguments: [
        Wrong(.unexpectedFrame, .hello(Hello(frameLimit: 4096, window: 0))),
        Wrong(.unexpectedFrame, .goAway(GoAway(.drain))),
        Wrong(.unexpectedFrame, .result(job: 1, ResultReport(JobResult(outcome: .halted)))),
        Wrong(.unexpectedFrame, .cancel(job: 1)),
        Wrong(.unexpectedFrame, .window(job: 1, Window(credit: 1))),
        Wrong(.unexpectedFrame, .input(job: 1, StreamChunk(offset: 0, bytes: [1]))),
        Wrong(.unexpectedFrame, .image(job: 1, StreamChunk(offset: 0, bytes: [1]))),
        Wrong(.unexpectedFrame, .error(job: 1, ErrorReport(code: 1))),
        Wrong(.unexpectedFrame, small, .input(job: 5, StreamChunk(offset: 0, bytes: [1]))),
        Wrong(.unexpectedFrame, small, image([1, 2], end: true), image([], at: 2, end: true)),
        Wrong(.badJob, small, small),
        Wrong(.badJob, small, .submit(job: 4, Submit(mode: 1, imageBytes: 2))),
        Wrong(.badOffset, small, image([1], at: 1)),
        Wrong(.dataOverrun, small, image([1, 2, 3])),
        Wrong(.payloadTruncated, small, image([1], end: true)),
        Wrong(.windowOverflow, small, .window(job: 5, Window(credit: Hello.largestWindow))),
        Wrong(.unexpectedFrame, .extend(job: 1, Extend(steps: 1))),
        Wrong(.unexpectedFrame, small, .extend(job: 5, Extend(steps: 0))),
        Wrong(.unexpectedFrame, .paused(job: 1, Paused(Pause(steps: 1, keepNanoseconds: 1)))),
    ])
    func `what a client may not send ends the connection`(wrong: Wrong) throws {
        var session = session()
        for message in wrong.messages.dropLast() {
            #expect(try sent(session.receive(message.frame)).isEmpty)
        }
        let last = try #require(wrong.messages.last)
        let actions = session.receive(last.frame)
        #expect(try fatal(actions) == wrong.code)
        #expect(session.receive(Self.small.frame).isEmpty, "nothing is read any more")
    }

    @Test func `the first frame is a HELLO of our version, in time`() throws {
        var early = ServerSession(terms: .test)
        #expect(try fatal(early.receive(Message.ping(hex("0000000000000000")).frame)) == .helloExpected)
        var other = ServerSession(terms: .test)
        var hello = Hello(frameLimit: 4096, window: 1)
        hello.major = 2
        let actions = other.receive(Message.hello(hello).frame)
        #expect(try fatal(actions) == .versionUnsupported)
        #expect(actions.last == .close)
        var silent = ServerSession(terms: .test)
        #expect(try fatal(silent.handshakeExpired()) == .handshakeTimeout)
        var inTime = session()
        #expect(inTime.handshakeExpired().isEmpty)
    }

    @Test(arguments: [
        (ErrorCode.imageTooLarge, UInt64(1001), nil as UInt64?, nil as UInt64?, nil as UInt64?),
        (.imageEmpty, 0, nil, nil, nil), (.memorySize, 1, 1 << 19, nil, nil), (.memorySize, 1, 1 << 30, nil, nil),
        (.memorySize, 1, 1 << 20 + 1, nil, nil), (.budgetRange, 1, nil, 0, nil), (.budgetRange, 1, nil, nil, 0),
        (.budgetRange, 1, nil, nil, .max), (.imageTooLarge, .max, 0, 0, 0),
    ])
    func `a submission outside the terms is refused and the connection goes on`(
        code: ErrorCode, image: UInt64, memory: UInt64?, steps: UInt64?, wall: UInt64?
    ) throws {
        var session = session()
        var submit = Submit(mode: 1, imageBytes: image)
        (submit.memoryBytes, submit.stepBudget, submit.wallBudget) = (memory, steps, wall)
        #expect(try refusal(session.receive(Message.submit(job: 1, submit).frame), of: 1) == code)
        let late: [Message] = [
            .image(job: 1, StreamChunk(offset: 0, bytes: [1])), .input(job: 1, StreamChunk(offset: 5, bytes: [1])),
            .window(job: 1, Window(credit: 1)), .cancel(job: 1),
        ]
        for message in late { #expect(session.receive(message.frame).isEmpty) }
        #expect(self.submit(&session, 2).count == 2)
    }

    /// Every budget by the name that a refusal calls it.
    private static let budgets: [(String, @Sendable (inout Submit, UInt64) -> Void)] = [
        ("a step budget", { $0.stepBudget = $1 }), ("a wall-time budget", { $0.wallBudget = $1 }),
        ("a CPU-time budget", { $0.cpuBudget = $1 }), ("an exit budget", { $0.exitBudget = $1 }),
        ("an output budget", { $0.outputBudget = $1 }), ("a memory budget", { $0.memoryBudget = $1 }),
    ]

    @Test(arguments: budgets.indices)
    func `a budget of zero is refused by its name and one of one is not`(index: Int) throws {
        let (name, set) = Self.budgets[index]
        var session = session()
        var submit = Submit(mode: 1, imageBytes: 1)
        set(&submit, 0)
        guard case .error(job: 1, let report)? = try sent(session.receive(Message.submit(job: 1, submit).frame)).first
        else {
            Issue.record("not refused")
            return
        }
        #expect(report.knownCode == .budgetRange && report.limit == 1 && report.value == 0)
        #expect(report.text?.hasPrefix("\(name) is at least 1") == true)
        set(&submit, 1)
        #expect(session.receive(Message.submit(job: 2, submit).frame).isEmpty)
    }

    /// What can be wrong with a SUBMIT at a session whose jobs are as many as may be, lowest code first.
    private static let faults: [(ErrorCode, @Sendable (inout Submit) -> Void)] = [
        (.imageTooLarge, { $0.imageBytes = 1001 }), (.memorySize, { $0.memoryBytes = 1 }),
        (.budgetRange, { $0.exitBudget = 0 }), (.modeUnavailable, { $0.mode = 99 }), (.tooManyJobs, { _ in }),
    ]

    @Test(arguments: faults.indices, faults.indices)
    func `of several refusals the lowest code is sent`(first: Int, second: Int) throws {
        var session = session()
        for job: UInt32 in 1...3 { run(&session, job) }
        var submit = Submit(mode: 1, imageBytes: 1)
        for index in [first, second] { Self.faults[index].1(&submit) }
        let actions = session.receive(Message.submit(job: 4, submit).frame)
        #expect(try refusal(actions, of: 4) == Self.faults[min(first, second)].0)
        #expect(session.jobsInFlight == 3)
    }

    @Test func `a mode that nobody knows is refused`() throws {
        var session = session()
        let actions = session.receive(Message.submit(job: 1, Submit(mode: 99, imageBytes: 1)).frame)
        #expect(try refusal(actions, of: 1) == .modeUnavailable)
    }

    @Test func `the job limit counts from SUBMIT to the end`() throws {
        var session = session()
        for job: UInt32 in 1...3 { _ = submit(&session, job) + session.accepted(job, Acceptance(queuePosition: 0)) }
        #expect(try refusal(submit(&session, 4), of: 4) == .tooManyJobs)
        _ = session.finished(2, JobResult(outcome: .halted))
        #expect(try refusal(submit(&session, 5), of: 5) == nil)
    }

    @Test func `images that are not complete share a bounded memory`() throws {
        var session = ServerSession(terms: .test, uploadLimit: 1500)
        _ = session.receive(Message.hello(Hello(frameLimit: 4096, window: 1)).frame)
        #expect(session.receive(Message.submit(job: 1, Submit(mode: 1, imageBytes: 1000)).frame).isEmpty)
        let second = session.receive(Message.submit(job: 2, Submit(mode: 1, imageBytes: 501)).frame)
        #expect(try refusal(second, of: 2) == .queueFull)
        #expect(session.receive(Message.submit(job: 3, Submit(mode: 1, imageBytes: 500)).frame).isEmpty)
    }

    @Test func `the worker's own refusal ends the job`() throws {
        var session = session()
        _ = submit(&session, 1)
        let refused = session.refused(1, Refusal(.queueFull, "64 jobs wait", limit: 64, value: 65))
        guard case .error(job: 1, let report)? = try sent(refused).first else {
            Issue.record("no ERROR")
            return
        }
        #expect(report.knownCode == .queueFull && report.isRetryable == true && report.limit == 64)
        #expect(session.accepted(1, Acceptance(queuePosition: 0)).isEmpty)
    }

    @Test func `cancel stops a job, and an upload is refused`() throws {
        var session = session()
        _ = session.receive(Self.small.frame)
        #expect(try refusal(session.receive(Message.cancel(job: 5).frame), of: 5) == .cancelledUpload)
        _ = submit(&session, 6) + session.accepted(6, Acceptance(queuePosition: 0))
        #expect(session.receive(Message.cancel(job: 6).frame) == [.cancel(job: 6, .client)])
        _ = session.finished(6, JobResult(outcome: .cancelled(by: .client)))
        #expect(session.receive(Message.cancel(job: 6).frame).isEmpty)
    }

    @Test func `after a fatal error jobs still get their result, then the connection closes`() throws {
        var session = session()
        _ = submit(&session, 1) + session.accepted(1, Acceptance(queuePosition: 0))
        _ = session.receive(Message.submit(job: 2, Submit(mode: 1, imageBytes: 9)).frame)
        let actions = session.framingFailed(WireError(.frameTooLong, "x"))
        #expect(try fatal(actions) == .frameTooLong)
        #expect(!actions.contains(.close))
        let end = session.finished(1, JobResult(outcome: .halted))
        #expect(try sent(end).count == 1)
        #expect(end.last == .close)
    }

    @Test func `a client that leaves cancels its jobs`() {
        var session = session()
        _ = submit(&session, 1) + session.accepted(1, Acceptance(queuePosition: 0))
        _ = submit(&session, 2)
        // The last one first: what waits must not come up because what runs is stopped.
        #expect(session.inputClosed() == [.cancel(job: 2, .disconnect), .cancel(job: 1, .disconnect)])
        #expect(orders(session.refused(2, Refusal(.draining, ""))).isEmpty)
        #expect(orders(session.finished(1, JobResult(outcome: .cancelled(by: .disconnect)))) == [.close])
        var idle = self.session()
        #expect(idle.inputClosed() == [.close])
        #expect(idle.inputClosed().isEmpty)
    }

    @Test func `a client that cannot read us is not answered`() {
        var session = session()
        _ = submit(&session, 1) + session.accepted(1, Acceptance(queuePosition: 0))
        let actions = session.receive(Message.error(job: 0, ErrorReport(code: 15)).frame)
        #expect(actions == [.stopReading, .cancel(job: 1, .disconnect)])
    }

    @Test func `a draining worker ends what it accepted and refuses the rest`() throws {
        var session = session()
        _ = submit(&session, 1) + session.accepted(1, Acceptance(queuePosition: 0))
        _ = session.receive(Message.submit(job: 2, Submit(mode: 1, imageBytes: 9)).frame)
        let actions = try sent(session.goAway(.drain))
        #expect(actions.first == .goAway(GoAway(.drain, lastJob: 1)))
        guard case .error(job: 2, let report)? = actions.last else {
            Issue.record("the upload was not refused")
            return
        }
        #expect(report.knownCode == .draining)
        #expect(try refusal(submit(&session, 3), of: 3) == .draining)
        #expect(session.goAway(.drain).isEmpty)
        #expect(orders(session.finished(1, JobResult(outcome: .halted))) == [.close])
    }

    @Test func `unknown skippable frames change nothing`() {
        var session = session()
        #expect(session.receive(Frame(type: 0xFE, flags: 7, job: 99, payload: [1])).isEmpty)
        #expect(submit(&session, 1).count == 2)
    }

    @Test func `a PING is answered with its bytes`() throws {
        var session = session()
        let bytes = hex("0102030405060708")
        #expect(try sent(session.receive(Message.ping(bytes).frame)) == [.pong(bytes)])
        #expect(session.receive(Message.pong(bytes).frame).isEmpty)
    }

    @Test func `random conversations never trap and every accepted job can end once`() throws {
        var random = SplitMix64(state: 3)
        let samples = allMessages.map(\.frame)
        for _ in 0..<2000 {
            var session = session(window: 50)
            var results: [UInt32: Int] = [:]
            for _ in 0..<50 {
                var frame = samples[Int(random.next() % UInt64(samples.count))]
                if frame.header.job != 0 { frame = frame.ofJob(UInt32(random.next() % 4 + 1)) }
                for case .submit(let job, _, _) in session.receive(frame) {
                    _ = session.accepted(job, Acceptance(queuePosition: 0)) + session.started(job, queueNanoseconds: 0)
                    results[job] = 0
                }
                let job = UInt32(random.next() % 4 + 1)
                if random.next().isMultiple(of: 5) { _ = session.paused(job, Pause(steps: 1, keepNanoseconds: 1)) }
                _ = session.output(job, OutputChannel.allCases[Int(random.next() % 4)], [1, 2])
                _ = session.inputConsumed(job, Int(random.next() % 100))
                if random.next().isMultiple(of: 3), !session.finished(job, JobResult(outcome: .halted)).isEmpty {
                    results[job, default: 0] += 1
                }
            }
            #expect(results.values.allSatisfy { $0 <= 1 })
        }
    }
}
