// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom
import Testing

@testable import JobProtocol

private let pause = Pause(steps: 1000, keepNanoseconds: 60_000_000_000, registers: Registers())

private let pausable: JobSpec = {
    var spec = JobSpec(budget: Budget(steps: 1000))
    spec.pausesWhenStepsRunOut = true
    return spec
}()

private func steps(_ steps: UInt64, job: UInt32 = 1) -> Frame { Message.extend(job: job, Extend(steps: steps)).frame }

@Suite struct ServerPauseTests {
    private func running(jobs: ClosedRange<UInt32> = 1...1, _ spec: JobSpec = pausable) -> ServerSession {
        var session = ServerSession(terms: .test)
        _ = session.receive(Message.hello(Hello(frameLimit: 4096, window: 100)).frame)
        for job in jobs {
            _ = session.receive(Message.submit(job: job, Submit(spec, imageBytes: 1)).frame)
            _ = session.receive(Message.image(job: job, StreamChunk(offset: 0, bytes: [0xF4], isEnd: true)).frame)
            _ = session.accepted(job, Acceptance(queuePosition: 0)) + session.started(job, queueNanoseconds: 0)
        }
        return session
    }

    @Test(arguments: [0, 1, UInt64.max])
    func `a pause goes out once and its EXTEND comes back with any number`(more: UInt64) throws {
        var session = running()
        #expect(try sent(session.paused(1, pause)) == [.paused(job: 1, Paused(pause))])
        #expect(session.paused(1, pause).isEmpty, "it is paused already")
        #expect(session.receive(steps(more)) == [.extend(job: 1, steps: more)])
        #expect(session.started(1, queueNanoseconds: 1).isEmpty, "STARTED comes once")
        #expect(try sent(session.output(1, .console, [1])).count == 1)
        #expect(try sent(session.paused(1, pause)).count == 1, "a second pause")
    }

    @Test func `a job that does not run cannot be paused`() {
        var session = ServerSession(terms: .test)
        _ = session.receive(Message.hello(Hello(frameLimit: 4096, window: 100)).frame)
        #expect(session.paused(1, pause).isEmpty)
        _ = session.receive(Message.submit(job: 1, Submit(pausable, imageBytes: 1)).frame)
        _ = session.receive(Message.image(job: 1, StreamChunk(offset: 0, bytes: [0xF4], isEnd: true)).frame)
        #expect(session.paused(1, pause).isEmpty)
        _ = session.accepted(1, Acceptance(queuePosition: 0))
        #expect(session.paused(1, pause).isEmpty)
        #expect(session.output(1, .console, [1]).isEmpty, "and has no output")
    }

    @Test func `a job that did not ask for a pause is to end`() {
        var session = running(JobSpec(budget: Budget(steps: 1)))
        #expect(session.paused(1, pause) == [.extend(job: 1, steps: 0)])
        #expect(!session.finished(1, JobResult(outcome: .halted)).isEmpty)
    }

    @Test func `a paused job is cancelled and ends like a running one, once`() throws {
        var session = running()
        _ = session.paused(1, pause)
        #expect(session.refused(1, Refusal(.queueFull, "")).isEmpty, "it was accepted")
        #expect(session.receive(Message.cancel(job: 1).frame) == [.cancel(job: 1, .client)])
        let result = JobResult(outcome: .cancelled(by: .client))
        #expect(try sent(session.finished(1, result)) == [.result(job: 1, ResultReport(result))])
        #expect(session.finished(1, result).isEmpty)
        #expect(session.receive(steps(5)).isEmpty, "EXTEND crossed the RESULT")
    }

    @Test func `memory windows go out while a job is paused and nothing else does`() throws {
        var session = running()
        _ = session.paused(1, pause)
        for channel in OutputChannel.allCases {
            #expect(session.output(1, channel, [1]).isEmpty == (channel != .memory))
        }
        #expect(session.receive(steps(7)) == [.extend(job: 1, steps: 7)], "EXTEND crosses the end")
        #expect(try sent(session.finished(1, JobResult(outcome: .halted))).count == 1)
    }

    @Test func `an EXTEND too many ends the connection, and the other pauses with it`() throws {
        var session = running(jobs: 1...3)
        _ = session.paused(1, pause) + session.paused(3, pause)
        #expect(session.receive(steps(1)).count == 1)
        let actions = session.receive(steps(1))
        guard case .error(job: 0, let report)? = try sent(actions).first else {
            Issue.record("no fatal error")
            return
        }
        #expect(report.knownCode == .unexpectedFrame && report.frameType == FrameType.extend.rawValue)
        #expect(orders(actions) == [.stopReading, .extend(job: 3, steps: 0)])
        #expect(session.paused(2, pause) == [.extend(job: 2, steps: 0)], "nor can this one be extended any more")
        for job: UInt32 in 1...3 { #expect(try sent(session.finished(job, JobResult(outcome: .halted))).count == 1) }
        #expect(session.jobsInFlight == 0)
    }

    @Test func `a client that leaves cancels its paused jobs`() {
        var session = running()
        _ = session.paused(1, pause)
        #expect(session.inputClosed() == [.cancel(job: 1, .disconnect)])
        #expect(orders(session.finished(1, JobResult(outcome: .cancelled(by: .disconnect)))) == [.close])
    }

    @Test func `EXTENDs of hostile clients never trap`() {
        var random = SplitMix64(state: 6)
        for _ in 0..<2000 {
            var session = running(jobs: 1...3)
            var isStopped = false
            for _ in 0..<20 where !isStopped {
                let job = UInt32(random.next() % 5)
                switch random.next() % 5 {
                case 0, 1: _ = session.paused(job, pause)
                case 2: _ = session.finished(job, JobResult(outcome: .halted))
                case 3: _ = session.receive(Message.cancel(job: max(1, job)).frame)
                default: isStopped = session.receive(steps(random.next(), job: max(1, job))).contains(.stopReading)
                }
            }
            for job: UInt32 in 1...3 { _ = session.finished(job, JobResult(outcome: .halted)) }
            #expect(session.jobsInFlight == 0)
        }
    }
}

@Suite struct ClientPauseTests {
    private func running(_ spec: JobSpec = pausable) -> ClientSession {
        var session = ClientSession(software: "test", frameLimit: 4096, outputWindow: 100)
        _ = session.receive(Message.hello(WorkerTerms.test.hello).frame)
        _ = session.submit(spec, image: [0xF4])
        while session.nextImageFrame(1) != nil {}
        _ = session.receive(Message.accepted(job: 1, Acceptance()).frame)
        _ = session.receive(Message.started(job: 1, Started()).frame)
        return session
    }

    private let paused = Message.paused(job: 1, Paused(pause))

    @Test(arguments: [0, 1, UInt64.max])
    func `a pause is told and its EXTEND goes out once`(more: UInt64) throws {
        var session = running()
        #expect(session.extend(1, steps: more).isEmpty, "it is not paused")
        guard case .paused(job: 1, pause)? = session.receive(paused.frame).first else {
            Issue.record("not told")
            return
        }
        #expect(try sent(session.extend(1, steps: more)) == [.extend(job: 1, Extend(steps: more))])
        #expect(session.extend(1, steps: more).isEmpty)
        guard case .paused? = session.receive(paused.frame).first else {
            Issue.record("not told of the second pause")
            return
        }
        guard case .finished? = session.receive(Self.result.frame).first else {
            Issue.record("no result of a paused job")
            return
        }
        #expect(session.extend(1, steps: 1).isEmpty && session.extend(2, steps: 1).isEmpty)
    }

    private static let result = Message.result(job: 1, ResultReport(JobResult(outcome: .halted)))

    private static func output(_ channel: OutputChannel) -> Message {
        .output(job: 1, channel, StreamChunk(offset: 0, bytes: [1]))
    }

    @Test(arguments: OutputChannel.allCases)
    func `only memory windows may come while a job is paused`(channel: OutputChannel) {
        var session = running()
        _ = session.receive(paused.frame)
        let actions = session.receive(Self.output(channel).frame)
        let isOutput = if case .output(job: 1, channel, [1])? = actions.first { true } else { false }
        #expect(isOutput == (channel == .memory))
        #expect(session.jobsInFlight == (isOutput ? 1 : 0))
    }

    @Test func `a pause that nobody asked for ends the connection`() {
        var session = running(JobSpec(budget: Budget(steps: 1)))
        let actions = session.receive(paused.frame)
        let failures = actions.compactMap { if case .protocolFailed(let error) = $0 { error.code } else { nil } }
        #expect(failures == [.unexpectedFrame])
    }

    @Test func `STARTED and PAUSED do not come twice`() {
        for message in [paused, .started(job: 1, Started())] {
            var session = running()
            _ = session.receive(paused.frame)
            _ = session.receive(message.frame)
            #expect(session.jobsInFlight == 0, "the connection has ended")
        }
    }

    @Test func `a paused job is cancelled, and extended no more once the worker has failed`() throws {
        var session = running()
        _ = session.receive(paused.frame)
        #expect(try sent(session.cancel(1)) == [.cancel(job: 1)])
        _ = session.receive(Message.error(job: 0, ErrorReport(code: 21)).frame)
        #expect(session.extend(1, steps: 1).isEmpty)
        guard case .finished? = session.receive(Self.result.frame).first else {
            Issue.record("no result")
            return
        }
    }
}
