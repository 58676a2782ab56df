// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom
import Testing

@testable import JobProtocol

@Suite struct ClientSessionTests {
    private func ready(outputWindow: UInt32 = 8) -> ClientSession {
        var session = ClientSession(software: "test", frameLimit: 4096, outputWindow: outputWindow)
        _ = session.receive(Message.hello(WorkerTerms.test.hello).frame)
        return session
    }

    /// A session whose job 1 was sent completely and, unless told otherwise, has started.
    private func running(input: Bool = false, started: Bool = true) throws -> ClientSession {
        var session = ready()
        let submitted = session.submit(JobSpec(hasInput: input), image: [0xF4])
        #expect(submitted?.job == 1)
        while session.nextImageFrame(1) != nil {}
        _ = session.receive(Message.accepted(job: 1, Acceptance()).frame)
        if started { _ = session.receive(Message.started(job: 1, Started()).frame) }
        return session
    }

    @Test func `the worker's HELLO is answered and tells the terms`() throws {
        var session = ClientSession(software: "kvmjob test", frameLimit: 8192)
        #expect(session.frameLimit == 4096, "before our HELLO, payloads are small")
        #expect(!session.canSubmit)
        let actions = session.receive(Message.hello(WorkerTerms.test.hello).frame)
        #expect(
            try sent(actions)
                == [
                    .hello(
                        Hello(frameLimit: 8192, window: ClientSession.defaultOutputWindow, software: "kvmjob test"))
                ])
        #expect(session.frameLimit == 8192)
        #expect(session.terms?.jobLimit == 3 && session.terms?.modes.count == 3)
        #expect(session.canSubmit)
    }

    @Test func `an image goes out in frames that the worker takes`() throws {
        var terms = WorkerTerms.test
        (terms.frameLimit, terms.imageLimit) = (4096, 10_000)
        var session = ClientSession(software: "test")
        _ = session.receive(Message.hello(terms.hello).frame)
        let image = (0..<9000).map { UInt8($0 % 251) }
        let submitted = session.submit(JobSpec(), image: image)
        let (job, actions) = try #require(submitted)
        #expect(try sent(actions) == [.submit(job: 1, Submit(JobSpec(), imageBytes: 9000))])
        var bytes: [UInt8] = []
        while let frame = session.nextImageFrame(job) { bytes += frame }
        let sizes = try frames(bytes, chunk: 100).map(\.payload.count)
        #expect(sizes == [4096, 4096, 844])
        #expect(try frames(bytes, chunk: 100).map(\.header.flags) == [0, 0, 1])
    }

    @Test func `a job limit that is reached stops submissions until one ends`() throws {
        var session = ready()
        for _ in 0..<3 { #expect(session.submit(JobSpec(), image: [1]) != nil) }
        #expect(session.submit(JobSpec(), image: [1]) == nil)
        _ = session.receive(Message.error(job: 2, ErrorReport(code: 74)).frame)
        #expect(session.submit(JobSpec(), image: [1])?.job == 4, "numbers are not used again")
    }

    @Test func `input beyond the credit waits for a WINDOW`() throws {
        var session = try running(input: true)
        let bytes = [UInt8](0..<20)
        #expect(
            try sent(session.sendInput(1, bytes, end: true))
                == [.input(job: 1, StreamChunk(offset: 0, bytes: Array(bytes[..<16])))])
        let actions = session.receive(Message.window(job: 1, Window(credit: 100)).frame)
        #expect(
            try sent(actions) == [.input(job: 1, StreamChunk(offset: 16, bytes: Array(bytes[16...]), isEnd: true))])
        guard case .inputDrained(job: 1)? = actions.last else {
            Issue.record("nobody was told that the input is on its way")
            return
        }
        #expect(try sent(session.sendInput(1, [1], end: false)).isEmpty, "nothing after the end")
    }

    @Test func `consumed output gives credit back`() throws {
        var session = try running()
        let chunk = StreamChunk(offset: 0, bytes: [1, 2, 3, 4, 5])
        guard
            case .output(job: 1, .console, [1, 2, 3, 4, 5])? = session.receive(
                Message.output(job: 1, .console, chunk).frame
            ).first
        else {
            Issue.record("no output")
            return
        }
        #expect(session.grantOutput(1, 0).isEmpty)
        #expect(try sent(session.grantOutput(1, 5)) == [.window(job: 1, Window(credit: 5))])
        #expect(
            try sent(session.grantOutput(1, .max)) == [.window(job: 1, Window(credit: Hello.largestWindow - 8))],
            "never above what a window can be")
    }

    struct Wrong: Sendable, CustomTestStringConvertible {
        var code: ErrorCode
        var messages: [Message]
        var testDescription: String { "\(code.name): \(messages)" }

        init(_ code: ErrorCode, _ messages: Message...) { (self.code, self.messages) = (code, messages) }
    }

    private static let result = Message.result(job: 1, ResultReport(JobResult(outcome: .halted)))

    private static func output(_ bytes: [UInt8], at offset: UInt64 = 0) -> Message {
        .output(job: 1, .console, StreamChunk(offset: offset, bytes: bytes))
    }

    @Test(arguments: [
        Wrong(.unexpectedFrame, .hello(WorkerTerms.test.hello)), Wrong(.unexpectedFrame, .cancel(job: 1)),
        Wrong(.unexpectedFrame, .accepted(job: 1, Acceptance())), Wrong(.unexpectedFrame, .started(job: 1, Started())),
        Wrong(.unexpectedFrame, .accepted(job: 2, Acceptance())), Wrong(.unexpectedFrame, result, result),
        Wrong(.unexpectedFrame, result, output([1])), Wrong(.unexpectedFrame, .error(job: 1, ErrorReport(code: 70))),
        Wrong(.unexpectedFrame, .window(job: 2, Window(credit: 1))), Wrong(.badOffset, output([1], at: 1)),
        Wrong(.badOffset, output([1]), output([1])), Wrong(.windowExceeded, output([1, 2, 3, 4, 5, 6, 7, 8, 9])),
        Wrong(.windowOverflow, .window(job: 1, Window(credit: Hello.largestWindow))),
    ])
    func `what a worker may not send ends the connection and loses the jobs`(wrong: Wrong) throws {
        var session = try running(input: true)
        for message in wrong.messages.dropLast() { #expect(try sent(session.receive(message.frame)).isEmpty) }
        let last = try #require(wrong.messages.last)
        let isOpen = session.jobsInFlight > 0
        let actions = session.receive(last.frame)
        guard case .error(job: 0, let report)? = try sent(actions).first else {
            Issue.record("no ERROR in \(actions)")
            return
        }
        #expect(report.knownCode == wrong.code)
        let lost = actions.filter { if case .lost(job: 1) = $0 { true } else { false } }
        #expect(lost.count == (isOpen ? 1 : 0))
    }

    @Test func `a submission that the worker's frames cannot hold is refused here`() throws {
        var terms = WorkerTerms.test
        terms.frameLimit = 4096
        var session = ClientSession(software: "test")
        _ = session.receive(Message.hello(terms.hello).frame)
        var spec = JobSpec()
        spec.pieces = (0..<1024).map { MemoryRange(address: $0, count: 1) }
        var submitted = session.submit(spec, image: [1])
        var refused = try #require(submitted)
        guard case .refused(job: 1, let report)? = refused.actions.first, refused.actions.count == 1 else {
            Issue.record("not refused: \(refused.actions)")
            return
        }
        #expect(report.knownCode == .invalidField && report.limit == 4096 && (report.value ?? 0) > 16_384)
        #expect(session.jobsInFlight == 0 && session.nextImageFrame(1) == nil)
        spec.pieces = []
        submitted = session.submit(spec, image: [1])
        refused = try #require(submitted)
        #expect(try refused.job == 2 && sent(refused.actions) == [.submit(job: 2, Submit(spec, imageBytes: 1))])
    }

    @Test(arguments: [(MemoryRange.pieceLimit, MemoryRange.dumpLimit), (1025, 0), (0, 65)])
    func `a list is as long as the wire has it, and a longer one is refused here`(pieces: Int, dumps: Int) throws {
        var session = ready()
        var spec = JobSpec()
        spec.pieces = (0..<pieces).map { MemoryRange(address: UInt64($0), count: 1) }
        spec.dumps = (0..<dumps).map { MemoryRange(address: UInt64($0), count: 1) }
        let made = session.submit(spec, image: [1])
        let submitted = try #require(made)
        let isRefused = if case .refused? = submitted.actions.first { true } else { false }
        #expect(isRefused == (pieces > 1024 || dumps > 64))
        #expect(try isRefused || sent(submitted.actions) == [.submit(job: 1, Submit(spec, imageBytes: 1))])
    }

    @Test func `a worker that failed may still tell results, and a closed one tells nothing`() throws {
        var session = try running()
        guard case .workerFailed? = session.receive(Message.error(job: 0, ErrorReport(code: 21)).frame).first else {
            Issue.record("no failure")
            return
        }
        #expect(session.submit(JobSpec(), image: [1]) == nil)
        guard case .finished(job: 1, let result)? = session.receive(Self.result.frame).first else {
            Issue.record("no result")
            return
        }
        #expect(result.outcome == .halted)
        #expect(session.connectionClosed().isEmpty)
    }

    @Test func `a lost connection loses every job once`() throws {
        var session = try running()
        _ = session.submit(JobSpec(), image: [1])
        #expect(session.connectionClosed().count == 2)
        #expect(session.connectionClosed().isEmpty)
        #expect(session.receive(Self.result.frame).isEmpty)
    }

    @Test func `another major version and a full worker are told apart`() throws {
        var hello = WorkerTerms.test.hello
        hello.major = 2
        var other = ClientSession(software: "test")
        let actions = other.receive(Message.hello(hello).frame)
        guard case .protocolFailed(let error) = actions[1] else {
            Issue.record("no failure")
            return
        }
        #expect(error.code == .versionUnsupported)
        var full = ClientSession(software: "test")
        let frame = try #require(try frames(ServerSession.tooManyConnections(limit: 4), chunk: 5).first)
        guard case .workerFailed(let report)? = full.receive(frame).first else {
            Issue.record("no failure")
            return
        }
        #expect(report.knownCode == .tooManyConnections)
    }

    @Test func `no job starts after GOAWAY`() throws {
        var session = ready()
        guard case .goAway(GoAway(.drain, lastJob: nil))? = session.receive(Message.goAway(GoAway(.drain)).frame).first
        else {
            Issue.record("not told")
            return
        }
        #expect(!session.canSubmit && !session.isTakingJobs)
    }

    @Test func `random frames from a worker never trap`() {
        var random = SplitMix64(state: 4)
        let samples = allMessages.map(\.frame)
        for _ in 0..<3000 {
            var session = ready()
            var spec = JobSpec(hasInput: true)
            spec.pausesWhenStepsRunOut = true
            _ = session.submit(spec, image: [0xF4])
            _ = session.nextImageFrame(1)
            for _ in 0..<30 {
                var frame = samples[Int(random.next() % UInt64(samples.count))]
                if frame.header.job != 0 { frame = frame.ofJob(1) }
                guard FrameType(rawValue: frame.header.type)?.isSentByWorker == true else { continue }
                _ = session.receive(frame)
                _ = session.grantOutput(1, Int(random.next() % 10))
                _ = session.sendInput(1, [1, 2, 3], end: false)
                _ = session.extend(1, steps: random.next())
                _ = session.query(.worker)
            }
            #expect(session.jobsInFlight <= 1)
        }
    }

    @Test func `both sessions agree on a whole conversation`() throws {
        var server = ServerSession(terms: .test)
        var client = ClientSession(software: "test", outputWindow: 4)
        var toClient = FrameReader(frameLimit: 65_536)
        func deliver(_ actions: [ClientAction]) throws -> [ServerAction] {
            try sent(actions).flatMap { server.receive($0.frame) }
        }
        func receive(_ actions: [ServerAction]) throws -> [ClientAction] {
            toClient.append(try sent(actions).flatMap { $0.encode() })
            var all: [ClientAction] = []
            while let frame = try toClient.next() { all += client.receive(frame) }
            return all
        }
        _ = try deliver(receive(server.open()))
        let submitted = client.submit(JobSpec(label: "both"), image: [1, 2, 3])
        let (job, actions) = try #require(submitted)
        _ = try deliver(actions)
        let next = client.nextImageFrame(job)
        let image = try #require(next)
        var orders: [ServerAction] = []
        for frame in try frames(image, chunk: 1) { orders += server.receive(frame) }
        #expect(
            orders == [
                .submit(job: 1, spec: JobSpec(label: "both"), source: .image(Image([1, 2, 3]))),
                .credit(job: 1, bytes: 4),
            ])
        _ = try receive(server.accepted(1, Acceptance(queuePosition: 0)) + server.started(1, queueNanoseconds: 1))
        _ = try receive(server.output(1, .console, [1, 2, 3, 4]))
        #expect(try deliver(client.grantOutput(1, 4)) == [.credit(job: 1, bytes: 4)])
        var end = JobResult(outcome: .exited(code: 3))
        end.registers = Registers()
        guard case .finished(job: 1, let result)? = try receive(server.finished(1, end)).first else {
            Issue.record("no result")
            return
        }
        #expect(result == end)
    }
}
