// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobProtocol

private let kept: JobSpec = {
    var spec = JobSpec(label: "kept", hasInput: true)
    spec.detachment = Detachment(key: "k")
    return spec
}()

private func submit(_ number: UInt32, _ change: (inout Submit) -> Void = { _ in }) -> Frame {
    var submit = Submit(kept, source: .image(Image([1, 2, 3], digest: ContentDigest(hashing: [1, 2, 3]))))
    change(&submit)
    return Message.submit(job: number, submit).frame
}

private func image(_ number: UInt32) -> Frame {
    Message.image(job: number, StreamChunk(offset: 0, bytes: [1, 2, 3], isEnd: true)).frame
}

private func input(_ number: UInt32, _ bytes: [UInt8], at offset: UInt64 = 0, end: Bool = false) -> Frame {
    Message.input(job: number, StreamChunk(offset: offset, bytes: bytes, isEnd: end)).frame
}

/// A worker's session that is open, whose client gives this much credit.
private func openSession(window: UInt32 = 100) -> ServerSession {
    var session = ServerSession(terms: .test, uploadLimit: 10_000)
    _ = session.open()
    _ = session.receive(Message.hello(Hello(frameLimit: 4096, window: window)).frame)
    return session
}

private func refusal(_ actions: [ServerAction]) throws -> ErrorCode? {
    for case .error(_, let report) in try sent(actions) { return report.knownCode }
    return nil
}

@Suite struct ServerDetachedTests {
    @Test(arguments: [true, false])
    func `a detached job is handed over when its image and its input are complete, in whatever order`(
        imageFirst: Bool
    ) throws {
        var session = openSession()
        #expect(orders(session.receive(submit(1))).count == 1)
        #expect(try sent(session.imageWanted(1)).count == 1)
        let parts = [image(1), input(1, [7, 8], end: true)]
        #expect(orders(session.receive(parts[imageFirst ? 0 : 1])).isEmpty)
        #expect(session.submission(of: 1) == nil && session.input(of: 1).isEmpty)
        let actions = orders(session.receive(parts[imageFirst ? 1 : 0]))
        guard case .submit(1, let spec, .image(let image))? = actions.first, actions.count == 1 else {
            Issue.record("not handed over alone but \(actions)")
            return
        }
        #expect(spec == kept && image.bytes == [1, 2, 3])
        #expect(session.input(of: 1) == [7, 8])
        #expect(try Submit.spec(payload: #require(session.submission(of: 1))) == kept)
        #expect(session.uploadBytes == 5)
        #expect(try sent(session.accepted(1, Acceptance(id: 9))) == [.accepted(job: 1, Acceptance(id: 9))])
        #expect(session.uploadBytes == 0 && session.jobsInFlight == 0)
        #expect(session.submission(of: 1) == nil && session.input(of: 1).isEmpty)
        #expect(session.finished(1, JobResult(outcome: .halted)).isEmpty)
        #expect(session.output(1, .console, [1]).isEmpty)
    }

    @Test func `an image that the worker has waits for the input, and counts among the bytes on their way`() {
        var session = openSession()
        _ = session.receive(submit(1))
        #expect(orders(session.imageFound(1, [1, 2, 3])).isEmpty)
        #expect(session.uploadBytes == 3)
        #expect(orders(session.receive(input(1, [9]))).isEmpty)
        #expect(session.uploadBytes == 4)
        #expect(orders(session.receive(input(1, [], at: 1, end: true))).count == 1)
        _ = session.refused(1, Refusal(.queueFull, ""))
        #expect(session.uploadBytes == 0 && session.jobsInFlight == 0)
    }

    @Test func `an image that the worker has is refused where there is no room to keep it for the input`() throws {
        var session = openSession()
        session.uploadRoom = 2
        _ = session.receive(submit(1))
        #expect(try refusal(session.imageFound(1, [1, 2, 3])) == .queueFull)
        #expect(session.uploadBytes == 0 && session.jobsInFlight == 0)
    }

    @Test func `a detached job's input has credit as it comes, up to the size of an image`() throws {
        var session = openSession()
        _ = session.receive(submit(1))
        _ = session.imageWanted(1)
        for piece in 0..<62 {
            let granted = try sent(session.receive(input(1, [UInt8](repeating: 1, count: 16), at: UInt64(piece) * 16)))
            #expect(granted == [.window(job: 1, Window(credit: 16))])
        }
        #expect(session.uploadBytes == 3 + 62 * 16)
        let actions = session.receive(input(1, [UInt8](repeating: 1, count: 16), at: 62 * 16))
        #expect(try refusal(actions) == .imageTooLarge)
        #expect(session.uploadBytes == 0)
        #expect(session.receive(input(1, [1], at: 63 * 16)).isEmpty)
    }

    @Test func `input beyond the room for bytes on their way is refused`() throws {
        var session = openSession()
        _ = session.receive(submit(1))
        _ = session.imageWanted(1)
        session.uploadRoom = 3
        #expect(try refusal(session.receive(input(1, [1, 2, 3]))) == nil)
        #expect(try refusal(session.receive(input(1, [1, 2, 3, 4], at: 3))) == .queueFull)
        #expect(session.uploadBytes == 0)
    }

    @Test func `what a detached job cannot have is refused, and a key without detach`() throws {
        var session = openSession()
        let changes: [(inout Submit) -> Void] = [
            { $0.pause = true }, { $0.trace = true }, { $0.dumps = [MemoryRange(address: 0, count: 1)] },
            { $0.snapshot = .ready }, { ($0.from, $0.mode, $0.imageBytes, $0.imageDigest) = (madeUp, 0, 0, nil) },
            { $0.detach = nil }, { $0.detach = false },
        ]
        for (place, change) in changes.enumerated() {
            #expect(try refusal(session.receive(submit(UInt32(place) + 1, change))) == .invalidField)
        }
        #expect(session.jobsInFlight == 0)
    }

    @Test func `a deterministic job's input need not come first where all of it has to come`() {
        var session = openSession()
        _ = session.receive(submit(1) { $0.deterministic = true })
        _ = session.imageWanted(1)
        #expect(orders(session.receive(image(1))).isEmpty)
        #expect(orders(session.receive(input(1, [], end: true))).count == 1)
    }

    @Test func `CANCEL takes back what is not complete, and comes too late for what is`() throws {
        var session = openSession()
        _ = session.receive(submit(1))
        _ = session.imageFound(1, [1, 2, 3])
        #expect(try refusal(session.receive(Message.cancel(job: 1).frame)) == .cancelledUpload)
        #expect(session.uploadBytes == 0)
        _ = session.receive(submit(2) { $0.input = nil })
        #expect(orders(session.imageFound(2, [1, 2, 3])).count == 1)
        #expect(session.receive(Message.cancel(job: 2).frame).isEmpty)
        #expect(session.receive(Message.window(job: 2, Window(credit: 1)).frame).isEmpty)
        #expect(try sent(session.accepted(2, Acceptance())).count == 1)
    }

    @Test func `a client that is gone leaves a submission to the worker, which finds nobody to tell`() {
        var session = openSession()
        _ = session.receive(submit(1) { $0.input = nil })
        _ = session.imageFound(1, [1, 2, 3])
        #expect(session.inputClosed() == [.close])
        #expect(session.accepted(1, Acceptance(id: 1)).isEmpty && session.refused(1, Refusal(.draining, "")).isEmpty)
    }

    @Test func `the same submission has the same digest, whatever its label, priority, key and way of its image`() {
        func digest(_ change: (inout Submit) -> Void, input bytes: [UInt8] = [7]) -> ContentDigest? {
            var session = openSession()
            let isNamed = session.receive(submit(1, change)).contains {
                if case .lookUp = $0 { true } else { false }
            }
            if isNamed { _ = session.imageWanted(1) }
            _ = session.receive(input(1, bytes, end: true))
            for case .submit(_, _, let source) in session.receive(image(1)) {
                return session.submissionDigest(of: 1, source)
            }
            return nil
        }
        let first = digest { _ in }
        #expect(first != nil)
        #expect(digest { ($0.label, $0.priority, $0.key) = ("other", 9, "other") } == first)
        #expect(digest { $0.imageDigest = nil } == first)
        #expect(digest { $0.exitBudget = 5 } != first)
        #expect(digest({ _ in }, input: [8]) != first)
    }

    @Test func `a stored submission and a stored result are read again, and what is not one is an error`() throws {
        for spec in [everySpec, everyProgram, leastProgram, kept] {
            let payload = Array(Submit(spec, imageBytes: 7).frame(job: 3).payload)
            var expected = spec
            expected.registers[.rip] = nil
            #expect(try Submit.spec(payload: payload) == expected)
            #expect(throws: WireError.self) { try Submit.spec(payload: payload.dropLast()) }
        }
        #expect(throws: WireError.self) { try Submit.spec(payload: []) }
        let unknownMode = Array(Submit(mode: 77, imageBytes: 1).frame(job: 1).payload)
        #expect(throws: WireError.self) { try Submit.spec(payload: unknownMode) }
        for result in allResults {
            let payload = ResultReport(result).payload
            #expect(payload.count <= Int(FrameHeader.smallestFrameLimit))
            #expect(try JobResult(resultPayload: payload) == ResultReport(result).jobResult)
        }
        #expect(throws: WireError.self) { try JobResult(resultPayload: [0]) }
    }
}

extension Submit {
    fileprivate static func spec(payload: ArraySlice<UInt8>) throws(WireError) -> JobSpec {
        try spec(payload: Array(payload))
    }
}

@Suite struct ServerAttachedTests {
    private func attachFrame(_ number: UInt32, _ request: AttachRequest = AttachRequest(id: 9)) -> Frame {
        Message.attach(job: number, request).frame
    }

    private static let running = DetachedJob(id: 9, tenant: .user(1), state: .running)

    @Test func `output goes on where ATTACH says, within the credit, and the result ends the number`() throws {
        var session = openSession(window: 4)
        var request = AttachRequest(id: 9)
        (request.run, request.offsets) = (2, [.console: 4096])
        #expect(session.receive(attachFrame(1, request)) == [.attach(job: 1, request), .credit(job: 1, bytes: 4)])
        #expect(session.output(1, .console, [1]).isEmpty && session.finished(1, allResults[0]).isEmpty)
        #expect(try sent(session.attached(1, state: Self.running)).count == 1)
        #expect(session.attached(1, state: Self.running).isEmpty)
        let chunk = StreamChunk(offset: 4096, bytes: [1, 2])
        #expect(try sent(session.output(1, .console, [1, 2])) == [.output(job: 1, .console, chunk)])
        let other = StreamChunk(offset: 0, bytes: [3])
        #expect(try sent(session.output(1, .standardError, [3])) == [.output(job: 1, .standardError, other)])
        #expect(session.receive(Message.window(job: 1, Window(credit: 3)).frame) == [.credit(job: 1, bytes: 3)])
        #expect(try sent(session.finished(1, allResults[0])).count == 1)
        #expect(session.jobsInFlight == 0 && session.left(1, .told).isEmpty)
    }

    @Test func `LEAVE is told until LEFT, CANCEL is the worker's to carry out`() throws {
        var session = openSession()
        _ = session.receive(attachFrame(1))
        _ = session.attached(1, state: Self.running)
        #expect(session.receive(Message.cancel(job: 1).frame) == [.cancel(job: 1, .client)])
        #expect(session.receive(Message.leave(job: 1).frame) == [.leave(job: 1)])
        #expect(try sent(session.left(1, .asked)) == [.left(job: 1, .asked)])
        #expect(session.receive(Message.leave(job: 1).frame).isEmpty)
        _ = session.receive(attachFrame(2))
        #expect(session.receive(Message.leave(job: 2).frame) == [.leave(job: 2)])
        #expect(try sent(session.left(2, .asked)) == [.left(job: 2, .asked)])
        #expect(session.attached(2, state: Self.running).isEmpty)
    }

    @Test func `a client that is gone, or speaks nonsense, lets go of all that it was attached to`() throws {
        for isNonsense in [false, true] {
            var session = openSession()
            _ = session.receive(attachFrame(1))
            _ = session.receive(attachFrame(2))
            _ = session.attached(2, state: Self.running)
            let actions =
                isNonsense ? session.receive(Message.leave(job: 9).frame) : session.inputClosed()
            #expect(orders(actions).filter { $0 != .stopReading } == [.leave(job: 1), .leave(job: 2), .close])
            #expect(session.left(1, .asked).isEmpty && session.attached(1, state: Self.running).isEmpty)
        }
    }

    @Test func `attached jobs count into the limit, are refused with their own type, and none while draining`() throws {
        var session = openSession()
        for number: UInt32 in 1...3 { _ = session.receive(attachFrame(number)) }
        guard case .error(4, let report)? = try sent(session.receive(attachFrame(4))).first else { return }
        #expect(report.knownCode == .tooManyJobs && report.frameType == FrameType.attach.rawValue)
        let refused = try sent(session.refused(1, Refusal(.jobUnknown, "")))
        guard case .error(1, let unknown)? = refused.first else { return }
        #expect(unknown.knownCode == .jobUnknown && unknown.frameType == FrameType.attach.rawValue)
        #expect(session.takeRefusals().isEmpty)
        _ = session.goAway(.drain)
        #expect(try refusal(session.receive(attachFrame(5))) == .draining)
        #expect(try sent(session.left(2, .drain)) == [.left(job: 2, .drain)])
        #expect(session.left(3, .drain).contains(.close))
    }

    @Test(arguments: [
        (DetachedJob.State.waiting, 0 as UInt32, 1 as UInt32), (.waiting, 2, 3), (.waiting, .max, .max),
        (.running, 2, 2), (.ended, 2, 2), (.ended, 0, 0),
    ])
    func `what is told of a job that waits is of the run that it waits for`(
        state: DetachedJob.State, started: UInt32, told: UInt32
    ) throws {
        var job = DetachedJob(id: 9, tenant: .user(1), state: state)
        job.run = started
        var session = openSession()
        _ = session.receive(attachFrame(1))
        guard case .attached(1, let attached)? = try sent(session.attached(1, state: job)).first else {
            Issue.record("not attached")
            return
        }
        #expect(attached.run == told)
    }

    @Test func `all that an ATTACH can hold decodes to what it was, and what is said by default means the same`() throws
    {
        let said = Frame(
            type: FrameType.attach.rawValue, job: 1,
            payload: hex("8001 00000008 0000000000000009  8003 00000000  8004 00000001 01  8005 00000001 01"))
        #expect(try Message(frame: said) == .attach(job: 1, AttachRequest(id: 9)))
    }
}

@Suite struct ClientDetachedTests {
    private func openSession() -> ClientSession {
        var session = ClientSession(software: "test")
        _ = session.receive(Message.hello(WorkerTerms.test.hello).frame)
        return session
    }

    @Test func `a request that no frame can hold is refused here`() throws {
        var session = openSession()
        var beyond = AttachRequest(id: 1)
        beyond.offsets = [.console: AttachRequest.largestOffset + 1]
        var strange = AttachRequest(id: 1)
        strange.offsets = [.trace: 0]
        for request in [beyond, strange] {
            let made = session.attach(request)
            let (number, actions) = try #require(made)
            guard case .refused(number, let report)? = actions.first else {
                Issue.record("not refused but \(actions)")
                continue
            }
            #expect(report.knownCode == .invalidField)
        }
        for key in ["", String(repeating: "k", count: 129)] {
            var spec = JobSpec()
            spec.detachment = Detachment(key: key)
            let submitted = session.submit(spec, image: [1])
            guard case .refused(_, let report)? = submitted?.actions.first else {
                Issue.record("a key of \(key.utf8.count) bytes is not refused")
                continue
            }
            #expect(report.knownCode == .invalidField)
        }
        #expect(session.jobsInFlight == 0)
    }

    @Test func `a detached job is over for the client when it is accepted, an attached one when it is left`() throws {
        var session = openSession()
        var spec = JobSpec()
        spec.detachment = Detachment()
        let submitted = session.submit(spec, source: .image(Image([1], digest: madeUp)))
        let job = try #require(submitted).job
        let accepted = session.receive(Message.accepted(job: job, Acceptance(id: 9)).frame)
        guard case .accepted(job, let acceptance)? = accepted.first, accepted.count == 1 else { return }
        #expect(acceptance.id == 9 && session.jobsInFlight == 0)
        let asked = session.attach(AttachRequest(id: 9))
        let attached = try #require(asked).job
        #expect(session.jobsInFlight == 1)
        _ = session.receive(Message.attached(job: attached, Attached(state: .running, run: 1)).frame)
        #expect(try sent(session.leave(attached)) == [.leave(job: attached)])
        let left = session.receive(Message.left(job: attached, .asked).frame)
        guard case .left(attached, .asked)? = left.first else {
            Issue.record("not left but \(left)")
            return
        }
        #expect(session.jobsInFlight == 0 && session.leave(attached).isEmpty)
    }

    @Test func `an offset at its most goes on without an overflow`() throws {
        var session = openSession()
        var request = AttachRequest(id: 9)
        request.offsets = [.console: AttachRequest.largestOffset]
        let asked = session.attach(request)
        let job = try #require(asked).job
        _ = session.receive(Message.attached(job: job, Attached(state: .running, run: 1)).frame)
        for step: UInt64 in 0...1 {
            let chunk = StreamChunk(offset: AttachRequest.largestOffset + step, bytes: [1])
            guard case .output? = session.receive(Message.output(job: job, .console, chunk).frame).first else {
                Issue.record("no output at \(chunk.offset)")
                return
            }
        }
    }
}
