// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobProtocol

/// Frames of the other side of a transcript, cut into chunks as the test wants them.
struct ChunkedFeed {
    let chunk: Int
    var reader: FrameReader

    mutating func frames(_ bytes: [UInt8]) throws(WireError) -> [Frame] {
        var frames: [Frame] = []
        let size = min(chunk, max(1, bytes.count))
        for start in stride(from: 0, to: bytes.count, by: size) {
            reader.append(bytes[start..<min(bytes.count, start + size)])
            while let frame = try reader.next() { frames.append(frame) }
        }
        return frames
    }
}

/// A ``ServerSession`` that gets the client's frames of a transcript and is told what the worker does in it. What it sends
/// has to be what the worker sends in the transcript.
struct WorkerPlay {
    private let transcript: Transcript
    private var feed: ChunkedFeed
    private var session = ServerSession(terms: .test)
    private var sentMessages: [Message] = []
    private var cancels: [UInt32: Canceller] = [:]
    /// Jobs of which PAUSED was sent, and neither RESULT nor their EXTEND has come since.
    private var paused: Set<UInt32> = []
    private var extensions: [Extension] = []
    /// Jobs whose image the worker looks for.
    private var lookUps: Set<UInt32> = []
    /// Jobs whose program's layers the worker looks for, and how many those are.
    private var layerLookUps: [UInt32: Int] = [:]
    /// Jobs that start from a snapshot.
    private var resumed: Set<UInt32> = []
    /// Jobs that the owner was given, or was asked for, and has not said anything of.
    private var given: Set<UInt32> = []
    /// Attached jobs of which the client wants to hear no more.
    private var leaves: Set<UInt32> = []

    private struct Extension: Equatable {
        var job: UInt32, steps: UInt64
    }

    init(_ transcript: Transcript, chunk: Int) {
        self.transcript = transcript
        feed = ChunkedFeed(chunk: chunk, reader: FrameReader(frameLimit: 65_536))
    }

    mutating func run() throws {
        let hello = try transcript.steps.first { $0.from == .worker }.map { try message($0.hex) }
        if case .hello(let hello)? = hello { session = ServerSession(terms: WorkerTerms(hello)) }
        for (index, step) in transcript.steps.enumerated() {
            if step.from == .client {
                try receive(step, at: index)
            } else if try !play(message(step.hex)) {
                return
            }
        }
    }

    private mutating func take(_ actions: [ServerAction]) throws {
        sentMessages += try sent(actions)
        for case .cancel(let job, let canceller) in actions { cancels[job] = canceller }
        for case .submit(let job, _, .snapshot) in actions { resumed.insert(job) }
        for case .submit(let job, _, _) in actions { given.insert(job) }
        for case .attach(let job, _) in actions { given.insert(job) }
        for case .leave(let job) in actions { leaves.insert(job) }
        for case .lookUp(let job, _, _) in actions { lookUps.insert(job) }
        for case .lookUpLayers(let job, let layers) in actions { layerLookUps[job] = layers.count }
        for case .extend(let job, let steps) in actions { extensions.append(Extension(job: job, steps: steps)) }
    }

    private mutating func receive(_ step: Transcript.Step, at index: Int) throws {
        let before = sentMessages.count
        extensions = []
        do throws(WireError) {
            for frame in try feed.frames(hex(step.hex)) { take(noThrow: session.receive(frame)) }
        } catch {
            take(noThrow: session.framingFailed(error))
        }
        let fatal = sentMessages[before...].compactMap { message -> ErrorCode? in
            if case .error(job: 0, let report) = message { report.knownCode } else { nil }
        }
        let expected = transcript.failure.flatMap { $0.step == index ? $0.code : nil }
        #expect(fatal.first == expected, "at step \(index)")
        #expect(extensions == expectedExtensions(step, isFatal: expected != nil), "at step \(index)")
    }

    /// An EXTEND reaches the paused job that it is for; what is fatal gives up all that are paused.
    private mutating func expectedExtensions(_ step: Transcript.Step, isFatal: Bool) -> [Extension] {
        if isFatal {
            defer { paused = [] }
            return paused.sorted().map { Extension(job: $0, steps: 0) }
        }
        guard case .extend(let job, let extend)? = try? message(step.hex), paused.remove(job) != nil else { return [] }
        return [Extension(job: job, steps: extend.steps)]
    }

    private mutating func take(noThrow actions: [ServerAction]) {
        do { try take(actions) } catch { Issue.record("our own frame does not decode: \(error)") }
    }

    /// Does what the worker does in a step, and compares. Returns false when the rest is no conversation of a session.
    private mutating func play(_ step: Message) throws -> Bool {
        switch step {
        case .hello: try take(session.open())
        case .wantImage(let job, let layers):
            if let count = layerLookUps.removeValue(forKey: job) {
                let found: [[UInt8]?] = (0..<count).map { layers?.contains($0) == true ? nil : [] }
                try take(session.layersFound(job, found))
            }
            if lookUps.remove(job) != nil { try take(session.imageWanted(job)) }
        case .accepted(let job, let accepted):
            if lookUps.remove(job) != nil { try take(session.imageFound(job, [])) }
            if let count = layerLookUps.removeValue(forKey: job) {
                try take(session.layersFound(job, [[UInt8]?](repeating: [], count: count)))
            }
            #expect(given.remove(job) != nil)
            try take(session.accepted(job, accepted, snapshotMemoryBytes: resumed.contains(job) ? 16 << 20 : nil))
        case .started(let job, let started):
            try take(session.started(job, queueNanoseconds: started.queueNanoseconds ?? 0))
            return compareStarted(job, started)
        case .output(let job, let channel, let chunk): try take(session.output(job, channel, chunk.bytes))
        // A detached job's input has credit as it comes.
        case .window(let job, let window) where sentMessages.isEmpty:
            try take(session.inputConsumed(job, Int(window.credit)))
        case .result(let job, let report): return try playResult(job, report)
        case .paused(let job, let report):
            try take(session.paused(job, report.pause))
            paused.insert(job)
        case .goAway(let goAway): try take(session.goAway(goAway.reason))
        case .error(let job, let report): return try playError(job, report)
        case .attached(let job, let attached):
            #expect(given.remove(job) != nil)
            var state = DetachedJob(id: 0, tenant: .unnamed, state: attached.state)
            (state.run, state.title) = (attached.run, attached.label ?? "")
            state.outputBytes = attached.outputBytes ?? 0
            try take(session.attached(job, state: state))
            return compareAttached(job, attached)
        case .left(let job, let reason):
            #expect(reason != .asked || leaves.contains(job))
            try take(session.left(job, reason))
        case .answer(let answer): try take(session.answer(answer) + session.answerWritten())
        case .stopped(let answer): try take(session.stopAnswered(answer) + session.answerWritten())
        case .ping, .skipped: return true
        case .window, .pong, .submit, .image, .input, .cancel, .extend, .attach, .leave, .query, .stop: break
        }
        return next(is: step)
    }

    /// Takes the first message that was sent and not compared yet.
    private mutating func next(is step: Message) -> Bool {
        let message = sentMessages.isEmpty ? nil : sentMessages.removeFirst()
        if case .hello(var ours)? = message, case .hello(let theirs) = step {
            ours.minor = theirs.minor
            return same(.hello(ours), step)
        }
        return same(message, step)
    }

    private func same(_ message: Message?, _ step: Message) -> Bool {
        #expect(message == step)
        return message == step
    }

    /// Vectors leave fields out of STARTED and RESULT that the session always says.
    private mutating func compareStarted(_ job: UInt32, _ expected: Started) -> Bool {
        guard case .started(job, let ours)? = sentMessages.first else {
            Issue.record("no STARTED but \(sentMessages)")
            return false
        }
        sentMessages.removeFirst()
        #expect(ours.queueNanoseconds == expected.queueNanoseconds ?? 0)
        if let wall = expected.wallBudget { #expect(ours.wallBudget == wall) }
        if let memory = expected.memoryBytes { #expect(ours.memoryBytes == memory) }
        if let steps = expected.stepBudget { #expect(ours.stepBudget == steps) }
        return true
    }

    /// Vectors leave fields out of ATTACHED that the session always says.
    private mutating func compareAttached(_ job: UInt32, _ expected: Attached) -> Bool {
        guard case .attached(job, let ours)? = sentMessages.first else {
            Issue.record("no ATTACHED but \(sentMessages)")
            return false
        }
        sentMessages.removeFirst()
        #expect((ours.state, ours.run, ours.label) == (expected.state, expected.run, expected.label))
        #expect(ours.outputBytes == expected.outputBytes ?? 0)
        return true
    }

    private mutating func playResult(_ job: UInt32, _ report: ResultReport) throws -> Bool {
        let result = report.jobResult
        paused.remove(job)
        if case .cancelled(by: .disconnect) = result.outcome { try take(session.inputClosed()) }
        if case .cancelled(by: let canceller) = result.outcome, [.client, .disconnect].contains(canceller) {
            #expect(cancels[job] == canceller)
        }
        try take(session.finished(job, result))
        guard case .result(job, let ours)? = sentMessages.first else {
            Issue.record("no RESULT but \(sentMessages)")
            return false
        }
        sentMessages.removeFirst()
        #expect(ours.jobResult == result)
        return true
    }

    private mutating func playError(_ job: UInt32, _ report: ErrorReport) throws -> Bool {
        let code = try #require(report.knownCode)
        if lookUps.remove(job) != nil, sentMessages.isEmpty { try take(session.imageFound(job, [])) }
        if code == .tooManyConnections {
            try take([ServerAction.send(ServerSession.tooManyConnections(limit: 1))])
        } else if code == .handshakeTimeout {
            try take(session.handshakeExpired())
        } else if sentMessages.isEmpty, let rule = Refusal.Rule(rawValue: report.code) {
            try take(session.refused(job, Refusal(rule, "")))
        } else if sentMessages.isEmpty {
            try take(session.framingFailed(WireError(code, "")))
        }
        guard case .error(job, let ours)? = sentMessages.first else {
            Issue.record("no ERROR but \(sentMessages)")
            return false
        }
        sentMessages.removeFirst()
        #expect(ours.knownCode == code)
        #expect((ours.isRetryable ?? false) == (report.isRetryable ?? ours.isRetryable ?? false))
        return true
    }
}

/// A ``ClientSession`` that gets the worker's frames of a transcript and is told what the client does in it.
///
/// A session chooses its own job numbers, so those of the transcript are translated.
struct ClientPlay {
    private let transcript: Transcript
    private var feed: ChunkedFeed
    private var session: ClientSession
    private var sentMessages: [Message] = []
    private var numbers: [UInt32: UInt32] = [:]
    private var unsubmitted: Set<UInt32> = []
    private var open: Set<UInt32> = []
    private var uploads: [UInt32: [UInt8]] = [:]
    private var ended: [UInt32: Int] = [:]
    private var detached: Set<UInt32> = []

    init(_ transcript: Transcript, chunk: Int) {
        self.transcript = transcript
        feed = ChunkedFeed(chunk: chunk, reader: FrameReader(frameLimit: 65_536))
        session = ClientSession(software: "")
    }

    mutating func run() throws {
        let first = try transcript.steps.first { $0.from == .client }.map { try message($0.hex) }
        guard case .hello(let hello)? = first else { return }
        session = ClientSession(
            software: hello.software ?? "", frameLimit: hello.frameLimit, outputWindow: hello.window)
        for (index, step) in transcript.steps.enumerated() {
            if step.from == .worker {
                if try !receive(step, at: index) { return }
            } else {
                try playStep(step)
            }
        }
        // A client may say HELLO first; a session waits for the worker's.
        #expect(sentMessages.allSatisfy { $0.frame.header.type == FrameType.hello.rawValue }, "nothing else was sent")
        #expect(ended.values.allSatisfy { $0 == 1 })
        #expect(open.allSatisfy { ended[$0] == nil })
    }

    /// A worker's frame, with the session's number of its job. A number that was never submitted stays one; nil for a job
    /// that the transcript submits and the session would not.
    private func translated(_ frame: Frame) -> Frame? {
        guard frame.header.job != 0 else { return frame }
        if unsubmitted.contains(frame.header.job) { return nil }
        return frame.ofJob(numbers[frame.header.job] ?? .max)
    }

    private mutating func receive(_ step: Transcript.Step, at index: Int) throws -> Bool {
        var actions: [ClientAction] = []
        do throws(WireError) {
            for frame in try feed.frames(hex(step.hex)).compactMap(translated) { actions += session.receive(frame) }
        } catch {
            actions += session.framingFailed(error)
        }
        sentMessages += try sent(actions)
        var failed: ErrorCode?
        for action in actions {
            switch action {
            case .accepted(let job, _) where detached.contains(job):
                open.remove(job)
            case .left(let job, let reason):
                #expect(try message(step.hex) == .left(job: message(step.hex).frame.header.job, reason))
                ended[job, default: 0] += 1
                open.remove(job)
            case .attached(_, let attached):
                #expect(try message(step.hex) == .attached(job: message(step.hex).frame.header.job, attached))
            case .refused(let job, _), .finished(let job, _):
                ended[job, default: 0] += 1
                open.remove(job)
            case .protocolFailed(let error): failed = error.code
            case .answered(let answer): #expect(try message(step.hex) == .answer(answer))
            case .stopped(let answer): #expect(try message(step.hex) == .stopped(answer))
            default: break
            }
        }
        let expected = transcript.failure.flatMap { $0.step == index ? $0.code : nil }
        #expect(failed == expected, "at step \(index)")
        return failed == nil
    }

    private mutating func playStep(_ step: Transcript.Step) throws {
        do {
            try play(message(step.hex))
        } catch let error as WireError where error.job != 0 {
            unsubmitted.insert(error.job)  // A critical field that a session of this version does not send.
        }
    }

    private mutating func play(_ step: Message) throws {
        switch step {
        case .hello(let expected):
            guard case .hello(var ours)? = sentMessages.first else { return }
            sentMessages.removeFirst()
            ours.minor = expected.minor
            #expect(ours == expected)
        case .submit(let job, let submit): try playSubmit(job, submit)
        case .image(let job, let chunk): try playImage(job, chunk)
        case .input(let job, let chunk): try expect(job, step) { $0.sendInput($1, chunk.bytes, end: chunk.isEnd) }
        case .window(let job, let window): try expect(job, step) { $0.grantOutput($1, Int(window.credit)) }
        case .cancel(let job): try expect(job, step) { $0.cancel($1) }
        case .extend(let job, let extend): try expect(job, step) { $0.extend($1, steps: extend.steps) }
        case .ping(let bytes): #expect(try sent(session.ping(bytes)) == [step])
        case .pong:
            // Transcripts also have one that answers nothing; a session does not make it.
            if sentMessages.first == step { sentMessages.removeFirst() }
        case .attach(let job, let request):
            let made = session.attach(request)
            let (number, actions) = try #require(made)
            numbers[job] = number
            open.insert(number)
            #expect(try sent(actions).map(\.frame) == [step.frame.ofJob(number)])
        case .leave(let job): try expect(job, step) { $0.leave($1) }
        case .query(let query): try expectRequest(step, session.query(query))
        case .stop(let request): try expectRequest(step, session.stop(request))
        case .error, .skipped, .goAway, .accepted, .started, .output, .result, .paused, .wantImage, .attached, .left,
            .answer, .stopped:
            break
        }
    }

    private func expectRequest(_ step: Message, _ actions: [ClientAction]?) throws {
        #expect(try sent(#require(actions)) == [step])
    }

    /// A submission that a client of this version cannot make is played by one that it can.
    private mutating func playSubmit(_ job: UInt32, _ submit: Submit) throws {
        let content = try transcript.image(of: job)
        let image =
            content + [UInt8](repeating: 0, count: max(0, Int(clamping: min(submit.imageBytes, 4096)) - content.count))
        let source =
            try submit.from.map { JobSource.snapshot($0) } ?? submit.programSpec.map { program in
                .program(try transcript.layers(of: job, program))
            } ?? .image(Image(image, digest: submit.imageDigest))
        let submitted = session.submit(
            submit.spec(mode: GuestMode(rawValue: submit.mode) ?? .real16), source: source)
        guard let (number, actions) = submitted else {
            #expect(!session.isTakingJobs, "the transcript submits after GOAWAY or a failure")
            unsubmitted.insert(job)
            return
        }
        if case .refused(number, let report)? = actions.first {
            #expect(report.knownCode == .invalidField && submit.program != nil, "a client says so itself")
            unsubmitted.insert(job)
            return
        }
        numbers[job] = number
        open.insert(number)
        if submit.detach == true { detached.insert(number) }
        guard case .submit(number, let ours)? = try sent(actions).first else {
            Issue.record("no SUBMIT")
            return
        }
        if let mode = GuestMode(rawValue: submit.mode) {
            // Layers are no larger here than a test has use for.
            var expected = submit.spec(mode: mode)
            expected.program?.layers = ours.layers ?? []
            #expect(ours.spec(mode: mode) == expected)
            #expect(ours.layers?.map(\.digest) == submit.programSpec?.layers.map(\.digest))
        }
    }

    private mutating func playImage(_ job: UInt32, _ chunk: StreamChunk) throws {
        guard let number = numbers[job], open.contains(number), session.isTakingJobs else { return }
        uploads[number, default: []] += chunk.bytes
        guard chunk.isEnd else { return }
        var bytes: [UInt8] = []
        while let frame = session.nextImageFrame(number) { bytes += frame }
        let sentBytes = try frames(bytes, chunk: 4096).map { try Message(frame: $0) }.flatMap { message -> [UInt8] in
            if case .image(number, let chunk) = message { chunk.bytes } else { [] }
        }
        #expect(sentBytes == uploads[number])
    }

    /// What the session sends for a job that is in flight has to be the step; for another it sends nothing.
    private mutating func expect(
        _ job: UInt32, _ step: Message, _ act: (inout ClientSession, UInt32) -> [ClientAction]
    ) throws {
        guard let number = numbers[job] else { return }
        let messages = try sent(act(&session, number))
        guard open.contains(number), session.isTakingJobs else { return }
        #expect(messages.map(\.frame) == [step.frame.ofJob(number)])
    }
}

extension Transcript {
    /// All bytes of a job's image that the transcript shows.
    func image(of job: UInt32) throws -> [UInt8] {
        var bytes: [UInt8] = []
        for step in steps where step.from == .client {
            guard let frame = try frames(hex(step.hex), chunk: 4096).first else { continue }
            if case .image(job, let chunk)? = try? Message(frame: frame) { bytes += chunk.bytes }
        }
        return bytes
    }

    /// The layers of a job's program: those that were asked for as they came, and the others without content.
    func layers(of job: UInt32, _ program: ProgramSpec) throws -> [Image] {
        var content = try image(of: job)[...]
        let wanted = steps.compactMap { step -> LayerSet? in
            guard step.from == .worker, case .wantImage(job, let layers)? = try? message(step.hex) else { return nil }
            return layers
        }.first
        return program.layers.enumerated().map { place, layer in
            let count = Int(clamping: min(layer.bytes, 1 << 16))
            var bytes = [UInt8](repeating: 0, count: count)
            if wanted?.contains(place) == true {
                let came = content.prefix(count)
                bytes.replaceSubrange(0..<came.count, with: came)
                content = content.dropFirst(count)
            }
            return Image(bytes, digest: layer.digest)
        }
    }
}

/// The message of a step that this side sends itself, so that it decodes.
private func message(_ digits: String) throws -> Message {
    let bytes = hex(digits)
    return try Message(frame: #require(try frames(bytes, chunk: bytes.count).first))
}
