// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel

/// What a job's `--set` options say together.
struct ProcessorState: Hashable, Sendable {
    private(set) var registers: [RegisterName: UInt64] = [:]
    /// Where the guest starts, if an assignment says so.
    private(set) var entryPoint: UInt64?
    private(set) var segments: [SegmentName: Segment] = [:]
    private(set) var tables: [TableName: DescriptorTable] = [:]
    private(set) var controls: [ControlName: UInt64] = [:]

    /// What segments and tables are where nothing is said.
    private let start: SystemRegisters
    private let mode: GuestMode

    /// Puts assignments together; a part of a segment goes before the whole, in any order.
    ///
    /// - Throws: ``ValueError`` when two name the same, and for a selector where it does not say what the segment is.
    init(_ assignments: [RegisterAssignment], mode: GuestMode) throws(ValueError) {
        (start, self.mode) = (SystemArea.systemRegisters(for: mode), mode)
        var seen: Set<RegisterAssignment.Target> = []
        for assignment in assignments where !seen.insert(assignment.target).inserted {
            throw ValueError("\(assignment.target) is set twice: name each register once")
        }
        for assignment in assignments where assignment.isWholeSegment { try apply(assignment) }
        for assignment in assignments where !assignment.isWholeSegment { try apply(assignment) }
    }

    private mutating func apply(_ assignment: RegisterAssignment) throws(ValueError) {
        let value = assignment.value
        switch assignment.target {
        case .register(let name): registers[name] = value
        case .entryPoint: entryPoint = value
        case .control(let name): controls[name] = value
        case .table(let name, .base): tables[name, default: start[keyPath: name.keyPath]].base = value
        case .table(let name, .limit):
            tables[name, default: start[keyPath: name.keyPath]].limit = UInt16(truncatingIfNeeded: value)
        case .segment(let name, let part): try set(part, of: name, to: value)
        }
    }

    private mutating func set(
        _ part: RegisterAssignment.SegmentPart, of name: SegmentName, to value: UInt64
    ) throws(ValueError) {
        var segment = segments[name] ?? start[keyPath: name.keyPath]
        switch part {
        case .whole:
            guard mode == .real16, name != .tr, name != .ldt else { throw Self.needsParts(name, in: mode) }
            (segment.selector, segment.base) = (UInt16(truncatingIfNeeded: value), value << 4)
        case .selector: segment.selector = UInt16(truncatingIfNeeded: value)
        case .base: segment.base = value
        case .limit: segment.limit = UInt32(truncatingIfNeeded: value)
        case .attributes: segment.attributes = SegmentAttributes(rawValue: UInt16(truncatingIfNeeded: value))
        }
        segments[name] = segment
    }

    private static func needsParts(_ name: SegmentName, in mode: GuestMode) -> ValueError {
        ValueError(
            "a selector alone does not say what \(name.name) is in \(mode.name), and no descriptor table is looked into: set "
                + "\(name.name).sel, \(name.name).base, \(name.name).limit or \(name.name).attr")
    }
}

extension RegisterAssignment {
    fileprivate var isWholeSegment: Bool {
        if case .segment(_, .whole) = target { true } else { false }
    }
}
