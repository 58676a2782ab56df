// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

/// The content of a PAUSED frame: the job has used up its steps and can be extended.
public struct Paused: Sendable, Hashable {
    /// Steps taken so far.
    public var steps: UInt64
    /// Nanoseconds for which the worker keeps the machine.
    public var keepNanoseconds: UInt64
    /// The general registers.
    public var registers: Registers?
    /// Segments and control registers.
    public var system: SystemRegisters?

    /// The message of a pause.
    public init(_ pause: Pause) {
        (steps, keepNanoseconds) = (pause.steps, pause.keepNanoseconds)
        (registers, system) = (pause.registers, pause.system)
    }

    /// The pause that this tells of.
    public var pause: Pause {
        Pause(steps: steps, keepNanoseconds: keepNanoseconds, registers: registers, system: system)
    }

    private enum Tag: UInt16 { case steps = 0x0001, keepNanoseconds, registers, system }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .paused)
        var (steps, keepNanoseconds): (UInt64?, UInt64?)
        self.init(Pause(steps: 0, keepNanoseconds: 0))
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .steps: steps = try field.integer()
            case .keepNanoseconds: keepNanoseconds = try field.integer()
            case .registers: registers = Registers(wire: try field.bytes(exactly: Registers.wireSize))
            case .system: system = SystemRegisters(wire: try field.bytes(exactly: SystemRegisters.wireSize))
            case nil: try field.skip()
            }
        }
        guard let steps else { throw fields.missing(Tag.steps) }
        guard let keepNanoseconds else { throw fields.missing(Tag.keepNanoseconds) }
        (self.steps, self.keepNanoseconds) = (steps, keepNanoseconds)
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.paused, job: job, capacity: 512)
        fields.put(Tag.steps, steps)
        fields.put(Tag.keepNanoseconds, keepNanoseconds)
        fields.put(Tag.registers, block: registers)
        fields.put(Tag.system, block: system)
        return fields.finish()
    }
}

/// The content of an EXTEND frame: what becomes of a paused job.
public struct Extend: Sendable, Hashable {
    /// How many more steps the job may take; with 0 it ends.
    public var steps: UInt64

    /// A message with its part.
    public init(steps: UInt64) { self.steps = steps }

    private enum Tag: UInt16 { case steps = 0x8001 }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .extend)
        var steps: UInt64?
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .steps: steps = try field.integer()
            case nil: try field.skip()
            }
        }
        guard let steps else { throw fields.missing(Tag.steps) }
        self.steps = steps
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.extend, job: job)
        fields.put(Tag.steps, steps)
        return fields.finish()
    }
}
