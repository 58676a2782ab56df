// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel

extension AttachRequest {
    /// The channels that a detached job can have output on.
    public static let channels: [OutputChannel] = [.console, .standardError, .portWrites]
    /// The largest offset: 2^63-1, so that no sum of an offset and bytes that there can be is beyond 64 bits.
    public static let largestOffset = UInt64(Int64.max)

    /// Bytes of one channel's offset.
    private static let offsetSize = 9

    private enum Tag: UInt16 { case id = 0x8001, run, offsets, output, follow }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .attach)
        var id: UInt64?
        self.init(id: 0)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .id: id = try field.integer()
            case .run: run = try field.integer()
            case .offsets: offsets = try Self.offsets(field)
            case .output: wantsOutput = try field.flag()
            case .follow: follows = try field.flag()
            case nil: try field.skip()
            }
        }
        guard let id else { throw fields.missing(Tag.id) }
        self.id = id
    }

    private static func offsets(_ field: Field) throws(WireError) -> [OutputChannel: UInt64] {
        let bytes = try field.bytes(atMost: channels.count * offsetSize, multipleOf: offsetSize)
        var block = BlockReader(rest: bytes)
        var offsets: [OutputChannel: UInt64] = [:]
        var last: UInt8 = 0
        while !block.rest.isEmpty {
            let number: UInt8 = block.next()
            guard let channel = channels.first(where: { $0.rawValue == number }), last < number else {
                throw field.badValue(number)
            }
            last = number
            let offset: UInt64 = block.next()
            guard offset <= largestOffset else { throw field.badValue(offset) }
            offsets[channel] = offset
        }
        return offsets
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.attach, job: job, capacity: 96)
        fields.put(Tag.id, id)
        fields.put(Tag.run, run)
        fields.put(Tag.offsets, bytes: offsets.isEmpty ? nil : Self.wire(offsets))
        fields.put(Tag.output, flag: wantsOutput ? nil : false)
        fields.put(Tag.follow, flag: follows ? nil : false)
        return fields.finish()
    }

    private static func wire(_ offsets: [OutputChannel: UInt64]) -> [UInt8] {
        offsets.sorted { $0.key.rawValue < $1.key.rawValue }.reduce(into: []) { bytes, entry in
            bytes.append(entry.key.rawValue)
            bytes.append(bigEndian: entry.value)
        }
    }

    /// What no ATTACH can say.
    var wireRefusal: Refusal? {
        for (channel, offset) in offsets {
            guard Self.channels.contains(channel) else {
                return Refusal(.invalidField, "a detached job has no output on channel \(channel.rawValue)")
            }
            guard offset <= Self.largestOffset else {
                return Refusal(
                    .invalidField, "an offset is at most \(Self.largestOffset), not \(offset)",
                    limit: Self.largestOffset, value: offset)
            }
        }
        return nil
    }
}

/// The content of an ATTACHED frame: where the detached job is.
public struct Attached: Sendable, Hashable {
    /// The largest label in bytes.
    static let labelLimit = Submit.labelLimit

    /// Whether it waits, runs or has ended.
    public var state: DetachedJob.State
    /// The run whose output follows: ``JobModel/DetachedJob/outputRun``.
    public var run: UInt32
    /// Its label; of a program without one, the program's path.
    public var label: String?
    /// Bytes of this run's output that are kept so far.
    public var outputBytes: UInt64?

    /// A message with what is required of it.
    public init(state: DetachedJob.State, run: UInt32) { (self.state, self.run) = (state, run) }

    /// The message about this job.
    public init(_ job: DetachedJob) {
        self.init(state: job.state, run: job.outputRun)
        (label, outputBytes) = (job.title.isEmpty ? nil : job.title, job.outputBytes)
    }

    private enum Tag: UInt16 { case state = 0x0001, run, label, outputBytes }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .attached)
        var (state, run): (DetachedJob.State?, UInt32?)
        var (label, outputBytes): (String?, UInt64?)
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .state: state = try field.known()
            case .run: run = try field.integer()
            case .label: label = try field.text(atMost: Self.labelLimit)
            case .outputBytes: outputBytes = try field.integer()
            case nil: try field.skip()
            }
        }
        guard let state else { throw fields.missing(Tag.state) }
        guard let run else { throw fields.missing(Tag.run) }
        self.init(state: state, run: run)
        (self.label, self.outputBytes) = (label, outputBytes)
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.attached, job: job)
        fields.put(Tag.state, state.rawValue)
        fields.put(Tag.run, run)
        fields.put(Tag.label, text: label, atMost: Self.labelLimit)
        fields.put(Tag.outputBytes, outputBytes)
        return fields.finish()
    }
}

extension DetachedJob {
    /// The run whose output is had by attaching now: of a job that waits, the one that it waits for.
    public var outputRun: UInt32 { state == .waiting ? min(run, .max - 1) + 1 : run }
}

extension LeaveReason {
    private enum Tag: UInt16 { case reason = 0x0001 }

    /// The content of a LEFT frame.
    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .left)
        var reason: LeaveReason?
        while let field = try fields.next() {
            switch Tag(rawValue: field.tag) {
            case .reason: reason = try field.known()
            case nil: try field.skip()
            }
        }
        guard let reason else { throw fields.missing(Tag.reason) }
        self = reason
    }

    func frame(job: UInt32) -> Frame {
        var fields = FieldWriter(.left, job: job, capacity: 16)
        fields.put(Tag.reason, rawValue)
        return fields.finish()
    }
}
