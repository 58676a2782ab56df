// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobProtocol

private let base = programFiles[0]
private let tools = programFiles[1]
private let baseLayer = ProgramSpec.Layer(digest: base.digest ?? .zero, bytes: UInt64(base.bytes.count))

/// A program with these layers and nothing else that has to be said.
private func submission(_ files: [Image] = programFiles, _ change: (inout Submit) -> Void = { _ in }) -> Submit {
    var submit = Submit(leastProgram, source: .program(files))
    submit.memoryBytes = 16 << 20
    change(&submit)
    return submit
}

@Suite struct ProgramCodecTests {
    @Test func `a submission keeps the program`() throws {
        let submit = Submit(everyProgram, source: .program(programFiles))
        #expect(submit.imageBytes == 10 && submit.mode == 5)
        #expect(submit.spec(mode: .linux) == everyProgram)
        var short = Submit(mode: 5, imageBytes: 4)
        short.program = [0x2F]
        let spec = short.spec(mode: .linux)
        #expect(spec.memoryBytes == ProgramSpec.defaultMemoryBytes)
        #expect(spec.program == ProgramSpec(path: [0x2F], arguments: []))
    }

    @Test func `strings may have any byte but zero, and none at all`() throws {
        var submit = submission()
        submit.arguments = [[], Array(1...255), []]
        submit.environment = []
        guard case .submit(1, let back) = try Message(frame: Message.submit(job: 1, submit).frame) else {
            Issue.record("no SUBMIT")
            return
        }
        #expect(back == submit)
    }

    private func code(_ change: (inout Submit) -> Void) -> (ErrorCode, UInt16)? {
        let frame = Message.submit(job: 1, submission(programFiles, change)).frame
        do throws(WireError) {
            _ = try Message(frame: frame)
            return nil
        } catch { return (error.code, error.fieldTag ?? 0) }
    }

    @Test func `lists of strings are bounded in bytes and in number`() throws {
        let most = ProgramSpec.stringBytesLimit
        let whole = [[UInt8](repeating: 1, count: most - 1)]
        #expect(code { $0.arguments = whole } == nil && code { $0.environment = whole } == nil)
        for (name, tag) in [("arguments", UInt16(0x801E)), ("environment", 0x801F)] {
            let long = [[UInt8](repeating: 1, count: most)]
            let error = code { if name == "arguments" { $0.arguments = long } else { $0.environment = long } }
            #expect(try #require(error) == (.fieldSize, tag))
            let many = [[UInt8]](repeating: [], count: ProgramSpec.stringLimit + 1)
            let other = code { if name == "arguments" { $0.arguments = many } else { $0.environment = many } }
            #expect(try #require(other) == (.badValue, tag))
        }
        #expect(code { $0.arguments = [[UInt8]](repeating: [], count: ProgramSpec.stringLimit) } == nil)
        #expect(try #require(code { $0.program = [] }) == (.fieldSize, 0x801D))
        #expect(try #require(code { $0.program = [0x2F, 0] }) == (.badValue, 0x801D))
        let tooMany = [ProgramSpec.Layer](repeating: baseLayer, count: ProgramSpec.layerLimit + 1)
        #expect(try #require(code { $0.layers = tooMany }) == (.fieldSize, 0x8020))
    }

    @Test func `the largest program that is not refused fits in a worker's frames`() {
        let path = [UInt8](repeating: 0x61, count: ProgramSpec.pathLimit)
        var spec = everyProgram
        spec.label = String(repeating: "l", count: Submit.labelLimit)
        spec.budget = everySpec.budget
        spec.budget.steps = nil
        spec.hasInput = false
        spec.report = [.code, .stack, .exits, .fpu]
        let strings = [[UInt8]](repeating: [0x61], count: ProgramSpec.stringLimit - 1)
        let rest = ProgramSpec.stringBytesLimit - (path.count + 1) - strings.count * 2 - 1
        spec.program?.path = path
        spec.program?.arguments = strings + [[UInt8](repeating: 0x62, count: rest)]
        spec.program?.environment = []
        let files = (0..<ProgramSpec.layerLimit).map { Image([UInt8($0)]).hashed }
        let submit = Submit(spec, source: .program(files))
        #expect(submit.programSpec?.stringBytes == ProgramSpec.stringBytesLimit)
        #expect(WorkerTerms.test.refusal(of: submit) == nil)
        #expect(Message.submit(job: 1, submit).frame.header.length == 123_833)
        #expect(Message.submit(job: 1, submit).frame.header.length <= WorkerTerms.defaultFrameLimit)
        spec.program?.environment = [[]]
        #expect(WorkerTerms.test.refusal(of: Submit(spec, source: .program(files)))?.rule == .invalidField)
    }

    @Test func `the longest result of a program fits in the least frame limit`() throws {
        var result = JobResult(outcome: .hostError(String(repeating: "x", count: 1000)))
        (result.meter, result.steps) = (.bounded(reason: String(repeating: "x", count: 1000)), .max)
        (result.registers, result.system, result.touchedBytes) = (Registers(), SystemRegisters(), .max)
        (result.postMortem, result.digest) = (everyPostMortem, [UInt8](repeating: 6, count: 32))
        var report = everyProgramReport
        report.unknownCalls = (0..<1000).map { UInt32($0) }
        report.place = String(repeating: "ü", count: 1000)
        result.program = report
        let frame = Message.result(job: 1, ResultReport(result)).frame
        #expect(frame.header.length <= FrameHeader.smallestFrameLimit)
        guard case .result(1, let back) = try Message(frame: frame) else {
            Issue.record("no RESULT")
            return
        }
        #expect(back.unknownCalls == (0..<64).map { UInt32($0) } && back.place?.utf8.count == 256)
        #expect(back.meter == nil && back.meterReason == nil && back.steps == nil)
    }

    @Test func `a snapshot's name has in it what decides a program, and nothing else`() throws {
        var submit = submission()
        submit.snapshot = .ready
        let name = { (submit: Submit) in
            ContentDigest(snapshotOf: .program(programFiles), fields: submit.namedFields)
        }
        let fields = [
            "8002 00000001 05", "8003 00000008 000000000000000a", "8007 00000008 0000000001000000",
            "801b 00000009 01 0000000000000000", "801d 00000001 2f", "801e 00000001 00",
        ].flatMap { hex($0) }
        let layers = programFiles.flatMap { ($0.digest?.bytes ?? []) + hex("00000000000000") + [UInt8($0.bytes.count)] }
        let rest = hex("8020 00000050") + layers + hex("8021 00000001 01") + hex("8023 00000008 0000000004000000")
        let empty = hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(name(submit) == ContentDigest(hashing: Array("kvmjob-snapshot-1\0".utf8) + empty + fields + rest))
        let changes: [(inout Submit) -> Void] = [
            { $0.program = [0x2F, 0x61] }, { $0.arguments = [[1]] }, { $0.environment = [[1]] }, { $0.clock = .fixed },
            { $0.seed = 1 }, { $0.scratchBytes = 1 }, { $0.layers?.reverse() },
        ]
        for change in changes {
            var other = submit
            change(&other)
            #expect(name(other) != name(submit))
        }
        submit.label = "other"
        #expect(name(submit) == ContentDigest(hashing: Array("kvmjob-snapshot-1\0".utf8) + empty + fields + rest))
    }
}

@Suite struct ProgramOfferTests {
    private func session(uploadLimit: UInt64 = 1000, terms: WorkerTerms = .test) -> ServerSession {
        var session = ServerSession(terms: terms, uploadLimit: uploadLimit)
        _ = session.open()
        _ = session.receive(Message.hello(Hello(frameLimit: 4096, window: 9)).frame)
        return session
    }

    private func offer(_ job: UInt32, _ files: [Image] = programFiles) -> Frame {
        Message.submit(job: job, submission(files)).frame
    }

    private func piece(_ job: UInt32, _ bytes: [UInt8], at offset: UInt64 = 0, end: Bool = true) -> Frame {
        Message.image(job: job, StreamChunk(offset: offset, bytes: bytes, isEnd: end)).frame
    }

    private func report(_ actions: [ServerAction], of job: UInt32 = 0) throws -> ErrorReport? {
        guard case .error(job, let report)? = try sent(actions).first else { return nil }
        return report
    }

    private func layers(_ files: [Image]) -> [ProgramSpec.Layer] {
        files.compactMap { file in
            file.digest.map { ProgramSpec.Layer(digest: $0, bytes: UInt64(file.bytes.count)) }
        }
    }

    private func source(_ actions: [ServerAction]) -> JobSource? {
        guard case .submit(_, let spec, let source)? = actions.first else { return nil }
        #expect(spec.mode == .linux && spec.program != nil)
        return source
    }

    @Test func `a program whose layers are all found is handed on at once`() throws {
        var session = session()
        #expect(session.receive(offer(1)) == [.lookUpLayers(job: 1, layers(programFiles))])
        #expect(session.imageFound(1, []).isEmpty && session.imageWanted(1).isEmpty, "it has no image")
        let actions = session.layersFound(1, programFiles.map(\.bytes))
        #expect(source(actions) == .program(programFiles) && actions.last == .credit(job: 1, bytes: 9))
        #expect(session.uploadBytes == 0)
        #expect(session.layersFound(1, [nil, nil]).isEmpty, "it is answered once")
        let acceptance = Acceptance(queuePosition: 0)
        #expect(try sent(session.accepted(1, acceptance)) == [.accepted(job: 1, acceptance)])
    }

    @Test(arguments: [[0], [1], [0, 1]]) func `the layers that lack come, in pieces that end anywhere`(
        missing: [Int]
    ) throws {
        let content = missing.flatMap { programFiles[$0].bytes }
        for size in 1...content.count {
            var session = session()
            _ = session.receive(offer(1))
            let found = programFiles.enumerated().map { missing.contains($0) ? nil : $1.bytes }
            #expect(try sent(session.layersFound(1, found)) == [.wantImage(job: 1, layers: LayerSet(missing))])
            #expect(session.uploadBytes == UInt64(content.count))
            for start in stride(from: 0, to: content.count, by: size) {
                let bytes = Array(content[start...].prefix(size))
                #expect(session.receive(piece(1, bytes, at: UInt64(start), end: false)).isEmpty)
            }
            let actions = session.receive(piece(1, [], at: UInt64(content.count)))
            #expect(source(actions) == .program(programFiles), "those that came and those that were there, in order")
            #expect(session.uploadBytes == 0)
        }
    }

    @Test func `bytes that do not have their layer's digest are refused, and the layer is named`() throws {
        var session = session()
        let lies = [
            (Array("bass".utf8) + tools.bytes, "layer 0"), (base.bytes + Array("fools!".utf8), "layer 1"),
            (tools.bytes + base.bytes, "layer 0"),
        ]
        for (job, (bytes, name)) in zip(UInt32(1)..., lies) {
            _ = session.receive(offer(job))
            _ = session.layersFound(job, [nil, nil])
            let actions = session.receive(piece(job, bytes))
            let report = try #require(try report(actions, of: job))
            #expect(report.knownCode == .imageDigestMismatch && report.text?.contains(name) == true)
            #expect(orders(actions).isEmpty && session.uploadBytes == 0 && session.jobsInFlight == 0)
        }
    }

    @Test func `only the layers that come need room`() throws {
        var session = session(uploadLimit: 1000)
        let large = Image([UInt8](repeating: 1, count: 900)).hashed
        _ = session.receive(offer(1, [large]))
        _ = session.layersFound(1, [nil])
        _ = session.receive(offer(2, [tools, large]))
        #expect(try report(session.layersFound(2, [nil, nil]), of: 2)?.knownCode == .queueFull)
        _ = session.receive(offer(3, [tools, Image([UInt8](repeating: 2, count: 900)).hashed]))
        #expect(try sent(session.layersFound(3, [nil, []])) == [.wantImage(job: 3, layers: LayerSet([0]))])
        #expect(session.uploadBytes == 906)
        #expect(try report(session.receive(Message.cancel(job: 1).frame), of: 1)?.knownCode == .cancelledUpload)
        #expect(session.uploadBytes == 6)
        #expect(try sent(session.goAway(.drain)).count == 2)
        #expect(session.uploadBytes == 0 && session.jobsInFlight == 0)
    }

    @Test func `what is sent beyond, before or without a demand ends the connection`() throws {
        var beyond = session()
        _ = beyond.receive(offer(1))
        _ = beyond.layersFound(1, [base.bytes, nil])
        #expect(try report(beyond.receive(piece(1, base.bytes + tools.bytes)))?.knownCode == .dataOverrun)
        var early = session()
        _ = early.receive(offer(1))
        #expect(try report(early.receive(piece(1, base.bytes)))?.knownCode == .unexpectedFrame)
        var short = session()
        _ = short.receive(offer(1))
        _ = short.layersFound(1, [nil, nil])
        #expect(try report(short.receive(piece(1, base.bytes)))?.knownCode == .payloadTruncated)
        #expect(short.uploadBytes == 0)
        var known = session()
        _ = known.receive(offer(1))
        _ = known.layersFound(1, programFiles.map(\.bytes))
        #expect(try report(known.receive(piece(1, [], at: 0)))?.knownCode == .unexpectedFrame)
    }

    @Test func `a worker that runs no programs says so before any bytes come`() throws {
        var terms = WorkerTerms.test
        terms.modes.removeLast()
        var session = session(terms: terms)
        let actions = session.receive(offer(1))
        #expect(try report(actions, of: 1)?.knownCode == .modeUnavailable && orders(actions).isEmpty)
    }

    @Test func `input of a program goes on to it as it comes, and before its layers are there is held`() {
        var session = session()
        _ = session.receive(Message.submit(job: 1, submission { $0.input = true }).frame)
        #expect(session.receive(Message.input(job: 1, StreamChunk(offset: 0, bytes: [7])).frame).isEmpty)
        #expect(session.layersFound(1, programFiles.map(\.bytes)).last == .input(job: 1, bytes: [7], end: false))
        #expect(
            session.receive(Message.input(job: 1, StreamChunk(offset: 1, bytes: [8], isEnd: true)).frame)
                == [.input(job: 1, bytes: [8], end: true)])
    }

    /// A change, and what the refusal has to say.
    private static let refused: [(@Sendable (inout Submit) -> Void, String)] = [
        ({ $0.loadAddress = 0 }, "load_address"), ({ $0.entryPoint = 0 }, "entry_point"),
        ({ $0.registers = [.rax: 0] }, "registers"), ({ $0.stepBudget = 1 }, "step_budget"),
        ({ $0.portWrites = true }, "port_writes"), ({ $0.meter = .exact }, "meter"), ({ $0.pause = true }, "pause"),
        ({ $0.report = .all }, "digest"), ({ $0.segments = everySpec.segments }, "segments"),
        ({ $0.tables = everySpec.tables }, "tables"), ({ $0.controls = [.cr2: 0] }, "controls"),
        ({ $0.pieces = [MemoryRange(address: 0, count: 10)] }, "pieces"),
        ({ $0.dumps = [MemoryRange(address: 0, count: 1)] }, "dumps"), ({ $0.trace = true }, "trace"),
        ({ $0.deterministic = true }, "deterministic"), ({ $0.imageDigest = madeUp }, "image_digest"),
        ({ $0.snapshot = .steps(1) }, "snapshot"), ({ $0.snapshot = .address(1) }, "snapshot"),
        ({ $0.program = nil }, "program"), ({ $0.arguments = nil }, "argument"), ({ $0.arguments = [] }, "argument"),
        (
            {
                $0.arguments = [[UInt8]](repeating: [], count: 4000); $0.environment = $0.arguments
            }, "8000 arguments"
        ),
        (
            {
                $0.arguments = [[UInt8](repeating: 1, count: 70_000)]
                $0.environment = $0.arguments
            }, "140004 bytes"
        ),
        ({ $0.layers = nil }, "layers"), ({ $0.layers?[1].bytes = 0 }, "layer 1 has no bytes"),
        ({ $0.layers?.append(baseLayer) }, "layers 0 and 2"), ({ $0.imageBytes = 11 }, "image_bytes is 11"),
        ({ $0.layers?[0].bytes = .max }, "64 bits"), ({ $0.mode = 4 }, "program goes with"),
        (
            {
                $0 = Submit(mode: 1, imageBytes: 1); $0.seed = 0
            }, "seed goes with"
        ),
        (
            {
                $0 = Submit(mode: 1, imageBytes: 1); $0.clock = .real
            }, "clock goes with"
        ),
        ({ ($0.mode, $0.imageBytes, $0.memoryBytes, $0.from) = (0, 0, nil, madeUp) }, "a program"),
    ]

    @Test(arguments: refused.indices) func `what a program cannot have is named`(index: Int) throws {
        let (change, text) = Self.refused[index]
        let refusal = try #require(WorkerTerms.test.refusal(of: submission(programFiles, change)))
        #expect(refusal.rule == .invalidField && refusal.message.contains(text), "\(refusal.message)")
    }

    @Test func `what a program may have is not refused`() {
        let change = { (submit: inout Submit) in
            (submit.label, submit.input, submit.cpuBudget, submit.exitBudget) = ("x", true, 1, 1)
            (submit.outputBudget, submit.memoryBudget, submit.report) = (1, 1, [.code, .stack, .exits, .fpu])
            (submit.clock, submit.seed, submit.scratchBytes, submit.environment) = (.fixed, 0, 0, [[]])
            (submit.registers, submit.pieces, submit.pause, submit.trace) = ([:], [], false, false)
        }
        #expect(WorkerTerms.test.refusal(of: submission(programFiles, change)) == nil)
        #expect(WorkerTerms.test.refusal(of: submission { $0.snapshot = .ready }) == nil)
        #expect(
            WorkerTerms.test.refusal(of: submission([Image([UInt8](repeating: 0, count: 1001)).hashed]))?.rule
                == .imageTooLarge)
    }
}

@Suite struct ProgramDemandTests {
    private func ready() -> ClientSession {
        var session = ClientSession(software: "test", frameLimit: 4096, outputWindow: 8)
        var hello = WorkerTerms.test.hello
        hello.frameLimit = 4096
        _ = session.receive(Message.hello(hello).frame)
        return session
    }

    private func failure(_ actions: [ClientAction]) -> ErrorCode? {
        actions.compactMap { if case .protocolFailed(let error) = $0 { error.code } else { nil } }.first
    }

    private func upload(_ session: inout ClientSession) throws -> [StreamChunk] {
        var chunks: [StreamChunk] = []
        while let frame = session.nextImageFrame(1) {
            guard case .image(1, let chunk) = try Message(frame: #require(frames(frame, chunk: frame.count).first))
            else { break }
            chunks.append(chunk)
        }
        return chunks
    }

    @Test(arguments: [[0], [1], [0, 1]]) func `only the layers that are asked for are sent`(wanted: [Int]) throws {
        var session = ready()
        let submitted = session.submit(everyProgram, source: .program(programFiles.map { Image($0.bytes) }))
        guard case .submit(1, let submit)? = try submitted.map({ try sent($0.actions) })?.first else {
            Issue.record("no SUBMIT")
            return
        }
        #expect(submit.spec(mode: .linux) == everyProgram && submit.imageBytes == 10)
        #expect(session.nextImageFrame(1) == nil)
        let actions = session.receive(Message.wantImage(job: 1, layers: LayerSet(wanted)).frame)
        #expect(failure(actions) == nil && actions.count == 1)
        let chunks = try upload(&session)
        #expect(chunks.flatMap(\.bytes) == wanted.flatMap { programFiles[$0].bytes })
        #expect(chunks.map(\.isEnd) == [Bool](repeating: false, count: wanted.count - 1) + [true])
        #expect(chunks.map(\.offset) == (wanted.count == 2 ? [0, 4] : [0]))
        #expect(failure(session.receive(Message.accepted(job: 1, Acceptance()).frame)) == nil)
    }

    @Test func `layers larger than a frame come in frames that the worker takes`() throws {
        var session = ready()
        let files = [5000, 4084, 1].map { Image([UInt8](repeating: UInt8($0 & 255), count: $0)) }
        _ = session.submit(leastProgram, source: .program(files))
        _ = session.receive(Message.wantImage(job: 1, layers: LayerSet(0..<3)).frame)
        let chunks = try upload(&session)
        #expect(chunks.map(\.bytes.count) == [4084, 916, 4084, 1] && chunks.map(\.offset) == [0, 4084, 5000, 9084])
        #expect(chunks.map(\.isEnd) == [false, false, false, true])
        #expect(chunks.flatMap(\.bytes) == files.flatMap(\.bytes))
    }

    @Test func `a demand for layers that there are not is a worker's mistake`() {
        let cases: [(LayerSet?, ErrorCode)] = [
            (nil, .fieldMissing), (LayerSet([2]), .badValue), (LayerSet([0, 31]), .badValue),
            (LayerSet(rawValue: 0), .badValue),
        ]
        for (layers, code) in cases {
            var session = ready()
            _ = session.submit(leastProgram, source: .program(programFiles))
            #expect(failure(session.receive(Message.wantImage(job: 1, layers: layers).frame)) == code)
        }
        var image = ready()
        _ = image.submit(JobSpec(), source: .image(base))
        #expect(failure(image.receive(Message.wantImage(job: 1, layers: LayerSet([0])).frame)) == .badValue)
        var twice = ready()
        _ = twice.submit(leastProgram, source: .program(programFiles))
        _ = twice.receive(Message.wantImage(job: 1, layers: LayerSet([0])).frame)
        let again = twice.receive(Message.wantImage(job: 1, layers: LayerSet([1])).frame)
        #expect(failure(again) == .unexpectedFrame)
        var accepted = ready()
        _ = accepted.submit(leastProgram, source: .program(programFiles))
        _ = accepted.receive(Message.wantImage(job: 1, layers: LayerSet([0])).frame)
        #expect(failure(accepted.receive(Message.accepted(job: 1, Acceptance()).frame)) == .unexpectedFrame)
    }

    @Test func `standard error is a stream of its own, and both share the credit`() throws {
        var session = ready()
        _ = session.submit(leastProgram, source: .program(programFiles))
        _ = session.receive(Message.accepted(job: 1, Acceptance()).frame)
        _ = session.receive(Message.started(job: 1, Started()).frame)
        let write = { (channel: OutputChannel, offset: UInt64, bytes: [UInt8]) in
            Message.output(job: 1, channel, StreamChunk(offset: offset, bytes: bytes)).frame
        }
        #expect(failure(session.receive(write(.console, 0, [1, 2, 3]))) == nil)
        guard case .output(1, .standardError, [4, 5])? = session.receive(write(.standardError, 0, [4, 5])).first else {
            Issue.record("no output")
            return
        }
        #expect(failure(session.receive(write(.standardError, 2, [6, 7, 8]))) == nil)
        #expect(failure(session.receive(write(.console, 3, [9]))) == .windowExceeded)
    }

    @Test func `what the wire has no room for is refused here`() throws {
        let changes: [((inout ProgramSpec) -> Void, [Image])] = [
            ({ $0.path = [] }, programFiles), ({ $0.path = [1, 0] }, programFiles),
            ({ $0.path = [UInt8](repeating: 1, count: 4096) }, programFiles), ({ $0.arguments = [] }, programFiles),
            ({ $0.arguments = [[1], [0]] }, programFiles), ({ $0.environment = [[0x41, 0]] }, programFiles),
            ({ $0.environment = [[UInt8]](repeating: [1], count: 4096) }, programFiles),
            ({ $0.arguments = [[UInt8](repeating: 1, count: 1 << 20)] }, programFiles), ({ _ in }, []),
            ({ _ in }, (0..<17).map { Image([UInt8($0)]) }), ({ _ in }, [base, base]), ({ _ in }, [Image([])]),
        ]
        for (index, (change, files)) in changes.enumerated() {
            var session = ready()
            var spec = leastProgram
            spec.program.map { program in
                var program = program
                change(&program)
                spec.program = program
            }
            let submitted = session.submit(spec, source: .program(files))
            guard case .refused(1, let report)? = submitted?.actions.first else {
                Issue.record("case \(index) is not refused")
                continue
            }
            #expect(report.knownCode == .invalidField)
            #expect(session.jobsInFlight == 0)
        }
    }
}
