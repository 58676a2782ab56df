// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The types that version 1.0 knows. The raw values are the numbers on the wire.
public enum FrameType: UInt8, Sendable, Hashable, CaseIterable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case hello = 0x01, ping, pong, goAway, error, window
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case submit = 0x10, image, input, cancel, extend, attach, leave
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case accepted = 0x20, started, output, result, paused, wantImage, attached, left
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case query = 0x30, answer, stop, stopped

    /// The first type that a receiver skips when it does not know it, instead of giving up.
    public static let firstSkippable: UInt8 = 0x80

    /// Whether a client may send it.
    public var isSentByClient: Bool {
        switch self {
        case .hello, .ping, .pong, .error, .window, .submit, .image, .input, .cancel, .extend, .attach, .leave, .query,
            .stop:
            true
        case .goAway, .accepted, .started, .output, .result, .paused, .wantImage, .attached, .left, .answer, .stopped:
            false
        }
    }

    /// Whether a worker may send it.
    public var isSentByWorker: Bool {
        switch self {
        case .hello, .ping, .pong, .goAway, .error, .window, .accepted, .started, .output, .result, .paused, .wantImage,
            .attached, .left, .answer, .stopped:
            true
        case .submit, .image, .input, .cancel, .extend, .attach, .leave, .query, .stop: false
        }
    }

    /// Whether its payload is a piece of a stream, which the END flag can close.
    var isData: Bool {
        switch self {
        case .image, .input, .output: true
        case .hello, .ping, .pong, .goAway, .error, .window, .submit, .cancel, .extend, .accepted, .started, .result,
            .paused, .wantImage, .attach, .leave, .attached, .left, .query, .answer, .stop, .stopped:
            false
        }
    }

    /// Whether it takes a number of its own, above all before it.
    var beginsJob: Bool { self == .submit || self == .attach }

    /// Whether the header's job must be 0 (false), must not be 0 (true), or may be either (nil).
    var needsJob: Bool? {
        switch self {
        case .hello, .ping, .pong, .goAway, .query, .answer, .stop, .stopped: false
        case .error: nil
        case .window, .submit, .image, .input, .cancel, .extend, .accepted, .started, .output, .result, .paused,
            .wantImage, .attach, .leave, .attached, .left:
            true
        }
    }
}

/// The twelve bytes in front of every payload.
public struct FrameHeader: Sendable, Hashable {
    /// Bytes of a header.
    public static let size = 12
    /// The flag that closes a stream.
    public static let end: UInt8 = 1
    /// The most bytes of payload that any receiver takes; a HELLO can ask for less.
    public static let largestFrameLimit: UInt32 = 1 << 20
    /// The bytes of payload that every receiver takes, and the limit before it has sent its HELLO.
    public static let smallestFrameLimit: UInt32 = 4096

    /// Bytes of payload.
    public var length: UInt32
    /// A ``FrameType``'s raw value, or another that the receiver may skip.
    public var type: UInt8
    /// ``end`` or nothing, for the known types.
    public var flags: UInt8
    /// The job that the frame speaks of; 0 is the connection.
    public var job: UInt32

    /// A header with all its parts.
    public init(type: UInt8, flags: UInt8 = 0, job: UInt32, length: UInt32) {
        (self.length, self.type, self.flags, self.job) = (length, type, flags, job)
    }

    /// The header that these ``size`` bytes spell, checked in the order of the specification.
    init(checking bytes: ArraySlice<UInt8>, frameLimit: UInt32) throws(WireError) {
        let at = bytes.startIndex
        self.init(
            type: bytes[at + 4], flags: bytes[at + 5], job: UInt32(bigEndianBytes: bytes[at + 8..<at + 12]),
            length: UInt32(bigEndianBytes: bytes[at..<at + 4]))
        guard length <= frameLimit else {
            throw failure(
                .frameTooLong, "a payload of \(length) bytes is above the limit of \(frameLimit)",
                limit: UInt64(frameLimit), value: UInt64(length))
        }
        guard bytes[at + 6] == 0, bytes[at + 7] == 0 else {
            throw failure(.reservedNotZero, "header bytes 6 and 7 are not zero")
        }
        try checkMeaning()
    }

    /// Flags, type and job number against what the type allows.
    private func checkMeaning() throws(WireError) {
        let known = FrameType(rawValue: type)
        if known == nil, type >= FrameType.firstSkippable { return }
        let allowed = known?.isData == true ? Self.end : 0
        guard flags & ~allowed == 0 else {
            throw failure(.reservedNotZero, "flags \(flags) hold bits that type \(type) does not have")
        }
        guard let known else {
            throw failure(.unknownType, "type \(type) is not known and may not be skipped")
        }
        guard known.needsJob != true || job != 0 else {
            throw failure(.badJob, "a frame of type \(type) needs a job number other than 0")
        }
        guard known.needsJob != false || job == 0 else {
            throw failure(.badJob, "a frame of type \(type) speaks of the connection: its job is 0, not \(job)")
        }
    }

    private func failure(_ code: ErrorCode, _ message: String, limit: UInt64? = nil, value: UInt64? = nil) -> WireError
    {
        WireError(code, message, frameType: type, limit: limit, value: value)
    }
}

/// A header and as many bytes of payload as it announces.
public struct Frame: Sendable, Hashable {
    /// What the frame is.
    public let header: FrameHeader
    /// Header and payload as they are on the wire: a frame is put together once, and copied no more.
    private let wire: [UInt8]

    /// Its content, in the shape of the type.
    public var payload: ArraySlice<UInt8> { wire[FrameHeader.size...] }

    /// A frame whose header's length is the payload's.
    public init(type: UInt8, flags: UInt8 = 0, job: UInt32, payload: [UInt8]) {
        var writer = FrameWriter(type: type, flags: flags, job: job, capacity: payload.count)
        writer.payload.put(payload)
        self = writer.finish()
    }

    init(_ type: FrameType, job: UInt32, payload: [UInt8]) {
        self.init(type: type.rawValue, job: job, payload: payload)
    }

    /// - Parameter wire: what the header says, and behind it as many bytes as it announces.
    fileprivate init(header: FrameHeader, wire: [UInt8]) { (self.header, self.wire) = (header, wire) }

    init(header: FrameHeader, received wire: ArraySlice<UInt8>) { self.init(header: header, wire: Array(wire)) }

    /// The bytes on the wire.
    public func encode() -> [UInt8] { wire }
}

/// Puts a frame together: its payload behind room for the header, which is written when the length is known.
struct FrameWriter: ~Copyable {
    private let type: UInt8
    private let flags: UInt8
    private let job: UInt32
    /// Takes the payload's bytes.
    var payload: ByteWriter

    /// - Parameter capacity: bytes of payload for which there is room; beyond them it grows.
    init(type: UInt8, flags: UInt8 = 0, job: UInt32, capacity: Int) {
        (self.type, self.flags, self.job) = (type, flags, job)
        payload = ByteWriter(capacity: FrameHeader.size + capacity)
        payload.put(UInt32(0))
        payload.put(type)
        payload.put(flags)
        payload.put(UInt16(0))
        payload.put(job)
    }

    init(_ type: FrameType, flags: UInt8 = 0, job: UInt32, capacity: Int) {
        self.init(type: type.rawValue, flags: flags, job: job, capacity: capacity)
    }

    consuming func finish() -> Frame {
        let length = UInt32(payload.count - FrameHeader.size)
        payload.replace(at: 0, by: length)
        let header = FrameHeader(type: type, flags: flags, job: job, length: length)
        return Frame(header: header, wire: payload.finish())
    }
}
