// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension Acceptance {
    private enum Tag: UInt16 { case queuePosition = 0x0001, id, waitNanoseconds, repeated }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .accepted)
        self.init()
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .queuePosition: queuePosition = try field.integer()
            case .id: id = try field.integer()
            case .waitNanoseconds: waitNanoseconds = try field.integer()
            case .repeated: isRepeated = try field.flag()
            case nil: try field.skip()
            }
        }
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.accepted, job: job)
        fields.put(Tag.queuePosition, queuePosition)
        fields.put(Tag.id, id)
        fields.put(Tag.waitNanoseconds, waitNanoseconds)
        fields.put(Tag.repeated, flag: isRepeated ? true : nil)
        return fields.finish()
    }
}

/// The guest is about to run, under these limits.
public struct Started: Sendable, Hashable {
    /// Nanoseconds between acceptance and start.
    public var queueNanoseconds: UInt64?
    /// The most steps; nil is unmetered.
    public var stepBudget: UInt64?
    /// The most wall time in nanoseconds.
    public var wallBudget: UInt64?
    /// Bytes of guest memory.
    public var memoryBytes: UInt64?

    /// A message that says nothing yet.
    public init() {}

    private enum Tag: UInt16 { case queueNanoseconds = 0x0001, stepBudget, wallBudget, memoryBytes }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .started)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .queueNanoseconds: queueNanoseconds = try field.integer()
            case .stepBudget: stepBudget = try field.integer()
            case .wallBudget: wallBudget = try field.integer()
            case .memoryBytes: memoryBytes = try field.integer()
            case nil: try field.skip()
            }
        }
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.started, job: job)
        fields.put(Tag.queueNanoseconds, queueNanoseconds)
        fields.put(Tag.stepBudget, stepBudget)
        fields.put(Tag.wallBudget, wallBudget)
        fields.put(Tag.memoryBytes, memoryBytes)
        return fields.finish()
    }
}
