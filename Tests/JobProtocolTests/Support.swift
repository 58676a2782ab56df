// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

@testable import JobProtocol

/// Bytes from hexadecimal digits; blanks are for the reader.
func hex(_ digits: String) -> [UInt8] {
    let values = digits.compactMap(\.hexDigitValue)
    precondition(values.count.isMultiple(of: 2), "half a byte in \(digits)")
    return stride(from: 0, to: values.count, by: 2).map { UInt8(values[$0] * 16 + values[$0 + 1]) }
}

/// The frames of a stream that comes in chunks of this size.
func frames(_ bytes: [UInt8], chunk: Int, limit: UInt32 = 65_536) throws(WireError) -> [Frame] {
    var reader = FrameReader(frameLimit: limit)
    var frames: [Frame] = []
    for start in stride(from: 0, to: bytes.count, by: max(1, chunk)) {
        reader.append(bytes[start..<min(start + chunk, bytes.count)])
        while let frame = try reader.next() { frames.append(frame) }
    }
    return frames
}

/// The error that a stream gives, or nil.
func failure(_ digits: String, limit: UInt32 = 65_536) -> WireError? {
    do throws(WireError) {
        for frame in try frames(hex(digits), chunk: 64, limit: limit) { _ = try Message(frame: frame) }
        return nil
    } catch { return error }
}

/// The messages among a worker's actions.
func sent(_ actions: [ServerAction]) throws -> [Message] {
    let bytes = actions.flatMap { action -> [UInt8] in
        switch action {
        case .send(let bytes), .sendAnswer(let bytes): bytes
        default: []
        }
    }
    return try frames(bytes, chunk: bytes.count).map { try Message(frame: $0) }
}

/// The messages among a client's actions.
func sent(_ actions: [ClientAction]) throws -> [Message] {
    let bytes = actions.flatMap { action -> [UInt8] in
        if case .send(let bytes) = action { bytes } else { [] }
    }
    return try frames(bytes, chunk: bytes.count).map { try Message(frame: $0) }
}

/// The actions that are no bytes.
func orders(_ actions: [ServerAction]) -> [ServerAction] {
    actions.filter {
        switch $0 {
        case .send, .sendAnswer: false
        default: true
        }
    }
}

extension ClientSession {
    /// Submits an image that has no digest.
    mutating func submit(_ spec: JobSpec, image: [UInt8]) -> (job: UInt32, actions: [ClientAction])? {
        submit(spec, source: .image(Image(image)))
    }
}

/// A digest that no image has.
let madeUp = ContentDigest((0..<32).map { UInt8($0) }) ?? .zero

extension WorkerTerms {
    static let test = WorkerTerms(
        inputWindow: 16, jobLimit: 3, imageLimit: 1000, memoryMaximum: 64 << 20, slots: 2,
        modes: [(.real16, .exact), (.user64, .bounded), (.linux, .none)], software: "kvmjobd test")
}

/// One of every message, with every field set somewhere and left out somewhere.
let allMessages: [Message] = {
    var hello = Hello(frameLimit: 65_536, window: 0, software: "kvmjobd 0.1")
    (hello.jobLimit, hello.imageLimit, hello.memoryMinimum) = (256, 64 << 20, 1 << 20)
    (hello.memoryMaximum, hello.wallMaximum, hello.slots) = (1 << 30, .max, 2)
    hello.modes = [Hello.ModeOffer(mode: 1, meter: .exact), Hello.ModeOffer(mode: 200, meter: .none)]
    var report = ErrorReport(WireError(.frameTooLong, "too long", frameType: 1, fieldTag: 2, limit: 3, value: 4))
    (report.isRetryable, report.limitName, report.retryNanoseconds) = (false, "tenant-memory", .max)
    var submit = Submit(
        JobSpec(
            label: "é", mode: .user64, loadAddress: 0x1000, entryPoint: 0x1004, registers: [.rax: .max, .rflags: 2],
            memoryBytes: 1 << 20, budget: Budget(steps: 5, wallTime: .milliseconds(3)), reportsPortWrites: true,
            hasInput: true), imageBytes: 7)
    submit.portWrites = false
    let asked = Submit(everySpec, imageBytes: 7)
    var digested = Submit(everySpec, source: .image(Image([1, 2, 3], digest: madeUp)))
    digested.snapshot = .steps(.max)
    let resumed = Submit(JobSpec(label: "again", hasInput: true), source: .snapshot(madeUp))
    var nothing = Submit(mode: 1, imageBytes: 1)
    nothing.snapshot = .ready
    (nothing.pause, nothing.trace, nothing.deterministic, nothing.report) = (false, false, false, [])
    (nothing.priority, nothing.waitBudget) = (0, 0)
    (nothing.segments, nothing.tables, nothing.controls, nothing.pieces, nothing.dumps) = ([:], [:], [:], [], [])
    var started = Started()
    (started.queueNanoseconds, started.stepBudget, started.wallBudget, started.memoryBytes) = (1, 2, 3, 4)
    var program = Submit(everyProgram, source: .program(programFiles))
    program.label = "p"
    return [
        .submit(job: 5, program), .submit(job: 6, Submit(leastProgram, source: .program([programFiles[0]]))),
        .wantImage(job: 1, layers: LayerSet([0, 15])),
        .output(job: 1, .standardError, StreamChunk(offset: 0, bytes: [0x21])),
        .hello(Hello(frameLimit: 4096, window: 1 << 30)), .hello(hello), .ping(hex("0001020304050607")),
        .pong(hex("ffffffffffffffff")), .goAway(GoAway(.idle)), .goAway(GoAway(.drain, lastJob: .max)),
        .error(job: 0, ErrorReport(code: 60_000)), .error(job: 9, report), .window(job: 1, Window(credit: 1)),
        .submit(job: 1, Submit(mode: 77, imageBytes: .max)), .submit(job: .max, submit),
        .submit(job: 2, asked), .submit(job: 2, digested), .submit(job: 2, resumed), .wantImage(job: 1),
        .submit(job: 3, nothing), .extend(job: 1, Extend(steps: 0)),
        .extend(job: .max, Extend(steps: .max)), .paused(job: 1, Paused(Pause(steps: 0, keepNanoseconds: .max))),
        .paused(
            job: 1, Paused(Pause(steps: 5, keepNanoseconds: 6, registers: Registers(), system: SystemRegisters()))),
        .output(job: 1, .memory, StreamChunk(offset: 0, bytes: MemoryRecord(address: 1, bytes: [2]).encoded)),
        .output(job: 1, .trace, StreamChunk(offset: 0, bytes: [2])),
        .image(job: 1, StreamChunk(offset: 0, bytes: [1, 2, 3], isEnd: true)),
        .input(job: 1, StreamChunk(offset: .max, bytes: [], isEnd: true)), .cancel(job: 4),
        .accepted(job: 1, Acceptance()), .accepted(job: 1, Acceptance(queuePosition: 3)), .started(job: 1, Started()),
        .accepted(job: 1, Acceptance(id: .max, queuePosition: 0, waitNanoseconds: 1)),
        .started(job: 1, started), .output(job: 1, .console, StreamChunk(offset: 5, bytes: [0x68, 0x69])),
        .output(job: 1, .portWrites, StreamChunk(offset: 0, bytes: [], isEnd: true)),
        .submit(job: 8, Submit(keptSpec, imageBytes: 7)), .accepted(job: 8, repeated),
        .attach(job: 1, AttachRequest(id: .max)), .attach(job: .max, everyAttachRequest), .leave(job: 1),
        .attached(job: 1, Attached(state: .waiting, run: 0)), .attached(job: 1, everyAttached),
        .skipped(Frame(type: 0x80, flags: 0xFF, job: 3, payload: [1, 2])),
    ] + LeaveReason.allCases.map { .left(job: 1, $0) } + allRequests
        + allResults.map { .result(job: 1, ResultReport($0)) }
}()

private let keptSpec: JobSpec = {
    var spec = JobSpec()
    spec.detachment = Detachment(key: "week-7/alice")
    return spec
}()

private let repeated: Acceptance = {
    var acceptance = Acceptance(id: 9)
    acceptance.isRepeated = true
    return acceptance
}()

/// All that can be asked of a detached job.
let everyAttachRequest: AttachRequest = {
    var request = AttachRequest(id: 9)
    request.run = .max
    request.offsets = [.console: AttachRequest.largestOffset, .standardError: 0, .portWrites: 1]
    (request.wantsOutput, request.follows) = (false, false)
    return request
}()

private let everyAttached: Attached = {
    var attached = Attached(state: .ended, run: .max)
    (attached.label, attached.outputBytes) = (String(repeating: "é", count: 64), .max)
    return attached
}()

/// A job that asks for everything there is.
let everySpec: JobSpec = {
    let budget = Budget(
        steps: 5, wallTime: .milliseconds(3), cpuTime: .nanoseconds(4), exits: 6, outputBytes: 7, touchedBytes: .max)
    var spec = JobSpec(
        label: "boot", mode: .long64, loadAddress: 1, entryPoint: 2, registers: [.rsp: 3], memoryBytes: 4,
        budget: budget, reportsPortWrites: true, hasInput: true)
    (spec.meter, spec.pausesWhenStepsRunOut, spec.report) = (.stepped, true, .all)
    let segment = Segment(base: 1, limit: 2, selector: 3, attributes: SegmentAttributes(type: 3, s: true))
    spec.segments = [.cs: segment, .ss: segment, .ldt: segment]
    spec.tables = [.gdt: DescriptorTable(base: 4, limit: 5), .idt: DescriptorTable(base: .max, limit: .max)]
    spec.controls = [.cr0: 1, .cr4: 2, .efer: .max]
    spec.pieces = [MemoryRange(address: 9, count: 3), MemoryRange(address: 1, count: 4)]
    spec.dumps = [MemoryRange(address: 0, count: 1)]
    (spec.isTraced, spec.isDeterministic, spec.snapshot) = (true, true, .address(.max))
    (spec.priority, spec.waitLimit) = (9, .max)
    return spec
}()

/// Two layers, to which it means nothing that they are no archives.
let programFiles = [Image(Array("base".utf8)).hashed, Image(Array("tools!".utf8)).hashed]

/// A program of which everything is said.
let everyProgram: JobSpec = {
    var spec = JobSpec(mode: .linux, memoryBytes: 1 << 20, hasInput: true)
    var program = ProgramSpec(
        path: Array("/bin/sort".utf8), arguments: [Array("sort".utf8), [], [0xFF, 0x01]], environment: [[0x41, 0x3D]],
        layers: programFiles.map { ProgramSpec.Layer(digest: $0.digest ?? .zero, bytes: UInt64($0.bytes.count)) })
    (program.clock, program.seed, program.scratchBytes) = (.fixed, .max, 1)
    (spec.program, spec.snapshot) = (program, .ready)
    return spec
}()

/// A program of which no more is said than has to be.
let leastProgram: JobSpec = {
    var spec = JobSpec(mode: .linux, memoryBytes: ProgramSpec.defaultMemoryBytes)
    spec.program = ProgramSpec(path: [0x2F], arguments: [[]])
    return spec
}()

/// All that can be said of a program's end.
let everyProgramReport = ProgramReport(
    signal: 64, systemCalls: .max,
    unknownCalls: (0..<ProgramReport.unknownCallLimit).map { UInt32.max - UInt32(ProgramReport.unknownCallLimit - $0) },
    place: String(repeating: "p", count: ProgramReport.placeBytesLimit), peakBytes: .max)

/// All that can be said of a job's end.
let everyPostMortem: PostMortem = {
    var postMortem = PostMortem()
    postMortem.cause = Fault(vector: 14, errorCode: 2, address: 3, rip: 16 << 40 | 1)
    postMortem.code = MemoryWindow(address: 1, bytes: [UInt8](repeating: 2, count: PostMortem.codeLimit))
    postMortem.stack = MemoryWindow(address: .max, bytes: [UInt8](repeating: 3, count: PostMortem.stackLimit))
    postMortem.exits = (0..<PostMortem.exitLimit).map { index in
        let kinds = ExitRecord.Kind.allCases
        return ExitRecord(
            kind: kinds[index % kinds.count], size: 8, count: .max, address: 4, value: .max, rip: UInt64(index))
    }
    postMortem.fpu = [UInt8](repeating: 5, count: PostMortem.fpuBytes)
    return postMortem
}()

/// One result for every outcome.
let allResults: [JobResult] = {
    let outcomes: [Outcome] = [
        .halted, .exited(code: .max), .faulted(Fault(vector: 14, errorCode: 2, address: 0xDEAD, rip: 0x1000)),
        .faulted(Fault(vector: 6, errorCode: nil, address: nil, rip: 0)), .tripleFault,
        .unemulatable(Unemulatable(rip: 7, bytes: [0x0F, 0x0B])), .unemulatable(Unemulatable(rip: nil, bytes: [])),
        .waitExpired(limit: 9), .hostError("KVM_RUN: EFAULT"), .snapshotTaken(madeUp),
    ]
    let more =
        Canceller.allCases.map { Outcome.cancelled(by: $0) }
        + BudgetKind.allCases.map { .exhausted($0, limit: 10, used: .max) }
    return (outcomes + more).enumerated().map { index, outcome in
        var result = JobResult(outcome: outcome)
        result.meter = [.none, .exact, .bounded(reason: "page faults may count twice")][index % 3]
        result.steps = index % 3 == 0 ? nil : UInt64(index)
        (result.queueNanoseconds, result.wallNanoseconds, result.outputBytes) = (1, 2, 3)
        (result.unclaimedPortWrites, result.droppedMemoryWrites) = (4, 5)
        (result.exits.io, result.exits.mmio, result.exits.debug) = (6, 7, 8)
        (result.exits.interrupted, result.exits.other) = (9, .max)
        if index.isMultiple(of: 2) {
            var registers = Registers()
            for (number, name) in RegisterName.allCases.enumerated() { registers[name] = UInt64(number) << 40 | 1 }
            result.registers = registers
            var system = SystemRegisters()
            system.cs = Segment(
                base: 1, limit: 2, selector: 3, attributes: SegmentAttributes(type: 11, s: true, dpl: 3, l: true))
            (system.gdt, system.cr3, system.apicBase) = (DescriptorTable(base: 4, limit: 5), 6, 7)
            result.system = system
            (result.cpuNanoseconds, result.touchedBytes) = (10, .max)
            (result.postMortem, result.digest) = (everyPostMortem, [UInt8](repeating: 6, count: 32))
        }
        if index % 4 == 3 {
            result.program = index % 8 == 3 ? everyProgramReport : ProgramReport(systemCalls: 1)
            (result.meter, result.steps) = (.none, nil)
        }
        return result
    }
}()

extension Frame {
    /// The same frame for another job.
    func ofJob(_ job: UInt32) -> Frame {
        Frame(type: header.type, flags: header.flags, job: job, payload: Array(payload))
    }
}
