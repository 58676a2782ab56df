// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// The content of a RESULT frame, as it came: what the worker did not say is nil.
///
/// With every field at its most it is shorter than the least frame limit, so that there is always a frame for it; but for that of a job
/// with several vCPUs, which leaves something out where it has to.
public struct ResultReport: Sendable, Hashable {
    /// The largest text and the largest meter reason in bytes.
    public static let textLimit = 512
    /// The most bytes of an instruction, as on the processor.
    public static let instructionLimit = 15

    /// Why the job ended.
    public var outcome: OutcomeNumber
    /// What the outcome carries.
    public var details = OutcomeDetails()
    /// How steps were counted; nil is not at all.
    public var meter: ModeMeter?
    /// Why the steps may be off.
    public var meterReason: String?
    /// Steps taken.
    public var steps: UInt64?
    /// Nanoseconds between acceptance and start, or end if it never started.
    public var queueNanoseconds: UInt64?
    /// Nanoseconds between start and end of the guest.
    public var wallNanoseconds: UInt64?
    /// Exits by reason.
    public var exits: ExitCounts?
    /// Bytes on the console channel.
    public var outputBytes: UInt64?
    /// Writes to ports that no device claims.
    public var unclaimedPortWrites: UInt64?
    /// Writes to physical addresses outside guest memory.
    public var droppedMemoryWrites: UInt64?
    /// The general registers at the end.
    public var registers: Registers?
    /// Segments and control registers at the end.
    public var system: SystemRegisters?
    /// Nanoseconds of processor time.
    public var cpuNanoseconds: UInt64?
    /// Bytes of guest memory backed by host memory at the end.
    public var touchedBytes: UInt64?
    /// Of a triple fault, the exception that started it; its address is that of the registers.
    public var causeVector: UInt8?
    /// What the processor pushed, or would have, for that exception.
    public var causeErrorCode: UInt32?
    /// The address that was accessed, of a page fault.
    public var causeAddress: UInt64?
    /// Memory around RIP.
    public var code: MemoryWindow?
    /// Memory from the stack pointer upwards.
    public var stack: MemoryWindow?
    /// The last exits, oldest first.
    public var exitLog: [ExitRecord]?
    /// x87 and SSE state.
    public var fpu: [UInt8]?
    /// SHA-256 of what can be repeated.
    public var digest: [UInt8]?
    /// The signal that ended the program.
    public var signal: UInt8?
    /// System calls of the program that were served.
    public var systemCalls: UInt64?
    /// Numbers of those that nothing serves.
    public var unknownCalls: [UInt32]?
    /// Where the program's fault was.
    public var place: String?
    /// The most bytes of guest memory that the program had at once.
    public var peakBytes: UInt64?

    /// What is known of each vCPU, their registers left out; nil of a job with one.
    public var processors: [ProcessorReport]?
    /// The registers of each, nil where they are lost.
    public var processorRegisters: [Registers?]?

    /// Bytes of a digest.
    static let digestSize = 32
    /// Bytes of a report without texts and post-mortem.
    private static let usualBytes = 640

    /// A report of an outcome alone.
    init(outcome: OutcomeNumber) { self.outcome = outcome }

    enum Tag: UInt16 {
        case outcome = 0x0001, code, vector, errorCode, address, rip, instruction, limit, used, canceller, text
        case meter, meterReason, steps, queueNanoseconds, wallNanoseconds, exits, outputBytes, unclaimedPortWrites
        case droppedMemoryWrites, registers, system, cpuNanoseconds, touchedBytes
        case causeVector, causeErrorCode, causeAddress, codeWindow, stackWindow, exitLog, fpu, digest, snapshot
        case signal, systemCalls, unknownCalls, place, peakBytes
        case processors, processorRegisters
    }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .result)
        var outcome: OutcomeNumber?
        self.init(outcome: .halted)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .outcome: outcome = try field.known()
            case nil: try field.skip()
            case .some(let tag):
                if try !details.take(field, tag) { try take(field, tag) }
            }
        }
        guard let outcome else { throw fields.missing(Tag.outcome) }
        if let tag = outcome.requiredTags.first(where: { !details.has($0) }) { throw fields.missing(tag) }
        self.outcome = outcome
        details.keepOnly(outcome.tags)
    }

    private mutating func take(_ field: Field, _ tag: Tag) throws(WireError) {
        switch tag {
        case .meter: meter = ModeMeter(rawValue: try field.integer(in: UInt8(1)...2))
        case .meterReason: meterReason = try field.text(atMost: Self.textLimit)
        case .steps: steps = try field.integer()
        case .queueNanoseconds: queueNanoseconds = try field.integer()
        case .wallNanoseconds: wallNanoseconds = try field.integer()
        case .exits: exits = ExitCounts(wire: try field.bytes(exactly: ExitCounts.wireSize))
        case .outputBytes: outputBytes = try field.integer()
        case .unclaimedPortWrites: unclaimedPortWrites = try field.integer()
        case .droppedMemoryWrites: droppedMemoryWrites = try field.integer()
        case .registers: registers = Registers(wire: try field.bytes(exactly: Registers.wireSize))
        case .system: system = SystemRegisters(wire: try field.bytes(exactly: SystemRegisters.wireSize))
        case .cpuNanoseconds: cpuNanoseconds = try field.integer()
        case .touchedBytes: touchedBytes = try field.integer()
        case .causeVector: causeVector = try field.integer()
        case .causeErrorCode: causeErrorCode = try field.integer()
        case .causeAddress: causeAddress = try field.integer()
        case .codeWindow: code = try field.window(atMost: PostMortem.codeLimit)
        case .stackWindow: stack = try field.window(atMost: PostMortem.stackLimit)
        case .exitLog: exitLog = try field.exitLog()
        case .fpu: fpu = Array(try field.bytes(exactly: PostMortem.fpuBytes))
        case .digest: digest = Array(try field.bytes(exactly: Self.digestSize))
        case .signal: signal = try field.integer(in: UInt8(1)...64)
        case .systemCalls: systemCalls = try field.integer()
        case .unknownCalls: unknownCalls = try field.callNumbers()
        case .place: place = try field.text(atMost: ProgramReport.placeBytesLimit)
        case .peakBytes: peakBytes = try field.integer()
        case .processors: processors = try field.processors()
        case .processorRegisters: processorRegisters = try field.processorRegisters()
        case .outcome, .code, .vector, .errorCode, .address, .rip, .instruction, .limit, .used, .canceller, .text,
            .snapshot:
            preconditionFailure("the outcome's fields are taken before these")
        }
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.result, job: job, capacity: Self.usualBytes)
        fields.put(Tag.outcome, outcome.rawValue)
        details.put(in: &fields)
        fields.put(Tag.meter, meter?.rawValue)
        fields.put(Tag.meterReason, text: meterReason, atMost: Self.textLimit)
        fields.put(Tag.steps, steps)
        fields.put(Tag.queueNanoseconds, queueNanoseconds)
        fields.put(Tag.wallNanoseconds, wallNanoseconds)
        fields.put(Tag.exits, block: exits)
        fields.put(Tag.outputBytes, outputBytes)
        fields.put(Tag.unclaimedPortWrites, unclaimedPortWrites)
        fields.put(Tag.droppedMemoryWrites, droppedMemoryWrites)
        fields.put(Tag.registers, block: registers)
        fields.put(Tag.system, block: system)
        fields.put(Tag.cpuNanoseconds, cpuNanoseconds)
        fields.put(Tag.touchedBytes, touchedBytes)
        fields.put(Tag.causeVector, causeVector)
        fields.put(Tag.causeErrorCode, causeErrorCode)
        fields.put(Tag.causeAddress, causeAddress)
        fields.put(Tag.codeWindow, bytes: code?.wire(atMost: PostMortem.codeLimit))
        fields.put(Tag.stackWindow, bytes: stack?.wire(atMost: PostMortem.stackLimit))
        fields.put(Tag.exitLog, bytes: exitLog.map { $0.suffix(PostMortem.exitLimit).flatMap(\.encoded) })
        fields.put(Tag.fpu, bytes: fpu)
        fields.put(Tag.digest, bytes: digest)
        fields.put(Tag.snapshot, bytes: details.snapshot?.bytes)
        fields.put(Tag.signal, signal)
        fields.put(Tag.systemCalls, systemCalls)
        fields.put(Tag.unknownCalls, bytes: unknownCalls.map(\.wire))
        fields.put(Tag.place, text: place, atMost: ProgramReport.placeBytesLimit)
        fields.put(Tag.peakBytes, peakBytes)
        fields.put(Tag.processors, bytes: processors.map(\.wire))
        fields.put(Tag.processorRegisters, bytes: processorRegisters.map(\.wire))
        return fields.finish()
    }
}

extension ResultReport {
    /// The report of a result. Counts are known on the worker's side, so zero is a count there.
    public init(_ result: JobResult) {
        (outcome, details) = result.outcome.onWire
        switch result.meter {
        case .none: break
        case .exact: meter = .exact
        case .bounded(let reason): (meter, meterReason) = (.bounded, reason)
        }
        steps = result.steps
        queueNanoseconds = result.queueNanoseconds
        wallNanoseconds = result.wallNanoseconds
        exits = result.exits
        outputBytes = result.outputBytes
        unclaimedPortWrites = result.unclaimedPortWrites
        droppedMemoryWrites = result.droppedMemoryWrites
        registers = result.registers
        system = result.system
        (cpuNanoseconds, touchedBytes, digest) = (result.cpuNanoseconds, result.touchedBytes, result.digest)
        let postMortem = result.postMortem
        causeVector = postMortem.cause?.vector
        (causeErrorCode, causeAddress) = (postMortem.cause?.errorCode, postMortem.cause?.address)
        (code, stack, fpu) = (postMortem.code, postMortem.stack, postMortem.fpu)
        exitLog = postMortem.exits.isEmpty ? nil : postMortem.exits
        if !result.processors.isEmpty {
            processors = result.processors
            processorRegisters = result.processors.map(\.registers)
        }
        result.program.map { describe($0) }
    }

    /// A program's steps are not counted, so that a reason why their figure may be off leaves its room to what is said here.
    private mutating func describe(_ program: ProgramReport) {
        (signal, systemCalls, peakBytes, place) =
            (program.signal, program.systemCalls, program.peakBytes, program.place)
        unknownCalls = program.unknownCalls.isEmpty ? nil : program.unknownCalls
        (meter, meterReason, steps) = (nil, nil, nil)
    }

    /// The result that this reports; counts that the worker left out are zero.
    public var jobResult: JobResult {
        var result = JobResult(outcome: Outcome(outcome, details))
        result.meter =
            switch meter {
            case nil, .some(.none): .none
            case .exact: .exact
            case .bounded: .bounded(reason: meterReason ?? "")
            }
        result.steps = steps
        result.queueNanoseconds = queueNanoseconds ?? 0
        result.wallNanoseconds = wallNanoseconds ?? 0
        result.exits = exits ?? ExitCounts()
        result.outputBytes = outputBytes ?? 0
        result.unclaimedPortWrites = unclaimedPortWrites ?? 0
        result.droppedMemoryWrites = droppedMemoryWrites ?? 0
        result.registers = registers
        result.system = system
        result.cpuNanoseconds = cpuNanoseconds ?? 0
        (result.touchedBytes, result.digest) = (touchedBytes, digest)
        result.postMortem = postMortem
        result.program = program
        result.processors = processorReports
        return result
    }

    /// nil where nothing is said of one.
    private var program: ProgramReport? {
        let report = ProgramReport(
            signal: signal, systemCalls: systemCalls ?? 0, unknownCalls: unknownCalls ?? [], place: place,
            peakBytes: peakBytes ?? 0)
        let isSaid = systemCalls != nil || peakBytes != nil
        return isSaid || report != ProgramReport() ? report : nil
    }

    private var postMortem: PostMortem {
        var postMortem = PostMortem()
        postMortem.cause = causeVector.map {
            Fault(vector: $0, errorCode: causeErrorCode, address: causeAddress, rip: registers?.rip ?? 0)
        }
        (postMortem.code, postMortem.stack, postMortem.fpu) = (code, stack, fpu)
        postMortem.exits = exitLog ?? []
        return postMortem
    }
}

extension MemoryWindow {
    fileprivate func wire(atMost limit: Int) -> [UInt8] {
        var wire: [UInt8] = []
        wire.append(bigEndian: address)
        return wire + bytes.prefix(limit)
    }
}

extension Field {
    fileprivate func window(atMost limit: Int) throws(WireError) -> MemoryWindow {
        let bytes = try bytes(atLeast: 8, atMost: 8 + limit)
        return MemoryWindow(address: UInt64(bigEndianBytes: bytes.prefix(8)), bytes: Array(bytes.dropFirst(8)))
    }

    fileprivate func exitLog() throws(WireError) -> [ExitRecord] {
        let size = ExitRecord.recordBytes
        let bytes = try bytes(atMost: PostMortem.exitLimit * size, multipleOf: size)
        var records: [ExitRecord] = []
        for at in stride(from: bytes.startIndex, to: bytes.endIndex, by: size) {
            guard let record = ExitRecord(record: bytes[at..<at + size]) else { throw badValue(bytes[at]) }
            records.append(record)
        }
        return records
    }

    /// Numbers of system calls, which rise strictly.
    fileprivate func callNumbers() throws(WireError) -> [UInt32] {
        let bytes = try bytes(atMost: ProgramReport.unknownCallLimit * 4, multipleOf: 4)
        var numbers: [UInt32] = []
        for at in stride(from: bytes.startIndex, to: bytes.endIndex, by: 4) {
            let number = UInt32(bigEndianBytes: bytes[at..<at + 4])
            if let last = numbers.last, number <= last { throw badValue(number) }
            numbers.append(number)
        }
        return numbers
    }
}

extension [UInt32] {
    /// As many as a report has room for.
    fileprivate var wire: [UInt8] {
        prefix(ProgramReport.unknownCallLimit).reduce(into: []) { $0.append(bigEndian: $1) }
    }
}
