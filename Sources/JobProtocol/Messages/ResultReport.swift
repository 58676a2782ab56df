// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// The content of a RESULT frame, as it came: what the worker did not say is nil.
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

    /// A report of an outcome alone.
    init(outcome: OutcomeNumber) { self.outcome = outcome }

    enum Tag: UInt16 {
        case outcome = 0x0001, code, vector, errorCode, address, rip, instruction, limit, used, canceller, text
        case meter, meterReason, steps, queueNanoseconds, wallNanoseconds, exits, outputBytes, unclaimedPortWrites
        case droppedMemoryWrites, registers, system
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
        case .outcome, .code, .vector, .errorCode, .address, .rip, .instruction, .limit, .used, .canceller, .text:
            preconditionFailure("the outcome's fields are taken before these")
        }
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter()
        fields.put(Tag.outcome, outcome.rawValue)
        details.put(in: &fields)
        fields.put(Tag.meter, meter?.rawValue)
        fields.put(Tag.meterReason, text: meterReason, atMost: Self.textLimit)
        fields.put(Tag.steps, steps)
        fields.put(Tag.queueNanoseconds, queueNanoseconds)
        fields.put(Tag.wallNanoseconds, wallNanoseconds)
        fields.put(Tag.exits, bytes: exits?.wire)
        fields.put(Tag.outputBytes, outputBytes)
        fields.put(Tag.unclaimedPortWrites, unclaimedPortWrites)
        fields.put(Tag.droppedMemoryWrites, droppedMemoryWrites)
        fields.put(Tag.registers, bytes: registers?.wire)
        fields.put(Tag.system, bytes: system?.wire)
        return Frame(.result, job: job, payload: fields.payload)
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
        return result
    }
}
