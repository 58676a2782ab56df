// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The first message of either side: who it is and what it takes.
///
/// The fields from ``jobLimit`` on are the worker's; a client leaves them nil.
public struct Hello: Sendable, Hashable {
    /// The largest program name in bytes.
    public static let softwareLimit = 128
    /// The largest mode list in bytes, two for each.
    public static let modesLimit = 512
    /// The largest credit that a stream can have: 2^31-1.
    public static let largestWindow = UInt32(Int32.max)

    /// A mode that a worker runs, and how it counts steps there.
    public struct ModeOffer: Sendable, Hashable {
        /// The number of a mode, which can be one that this program does not know.
        public var mode: UInt8
        /// How steps are counted.
        public var meter: ModeMeter

        /// An offer with its parts.
        public init(mode: UInt8, meter: ModeMeter) { (self.mode, self.meter) = (mode, meter) }
    }

    /// The major version; different ones cannot talk.
    public var major: UInt8 = 1
    /// The minor version; what the higher one adds is not used.
    public var minor: UInt8 = 0
    /// The largest payload that the sender takes.
    public var frameLimit: UInt32
    /// Name and version of the program, for people.
    public var software: String?
    /// First credit in bytes for each stream towards the sender.
    public var window: UInt32
    /// The most jobs in flight on this connection.
    public var jobLimit: UInt32?
    /// The most bytes of an image.
    public var imageLimit: UInt64?
    /// The least guest memory in bytes.
    public var memoryMinimum: UInt64?
    /// The most guest memory in bytes.
    public var memoryMaximum: UInt64?
    /// The largest wall-time budget in nanoseconds.
    public var wallMaximum: UInt64?
    /// Jobs that run at once.
    public var slots: UInt32?
    /// What the worker can run.
    public var modes: [ModeOffer]?

    /// A client's HELLO.
    public init(frameLimit: UInt32, window: UInt32, software: String? = nil) {
        (self.frameLimit, self.window, self.software) = (frameLimit, window, software)
    }

    private enum Tag: UInt16 {
        case version = 0x0001, frameLimit, software, window, jobLimit, imageLimit, memoryMinimum, memoryMaximum
        case wallMaximum, slots, modes
    }

    init(_ frame: Frame) throws(WireError) {
        var fields = FieldReader(frame, .hello)
        var version: UInt16?
        var frameLimit: UInt32?
        var window: UInt32?
        self.init(frameLimit: FrameHeader.smallestFrameLimit, window: 0)
        while let field = try fields.next() {
            let tag = Tag(rawValue: field.tag)
            // Only the first three fields keep their form in another major version.
            if let version, version >> 8 != 1, field.tag > Tag.software.rawValue { continue }
            switch tag {
            case .version: version = try field.integer()
            case .frameLimit:
                frameLimit = try field.integer(in: FrameHeader.smallestFrameLimit...FrameHeader.largestFrameLimit)
            case .software: software = try field.text(atMost: Self.softwareLimit)
            case .window: window = try field.integer(in: 0...Self.largestWindow)
            case .jobLimit: jobLimit = try field.integer()
            case .imageLimit: imageLimit = try field.integer()
            case .memoryMinimum: memoryMinimum = try field.integer()
            case .memoryMaximum: memoryMaximum = try field.integer()
            case .wallMaximum: wallMaximum = try field.integer()
            case .slots: slots = try field.integer()
            case .modes: modes = try Self.modes(field)
            case nil: try field.skip()
            }
        }
        guard let version else { throw fields.missing(Tag.version) }
        guard let frameLimit else { throw fields.missing(Tag.frameLimit) }
        (major, minor) = (UInt8(version >> 8), UInt8(version & 255))
        guard window != nil || major != 1 else { throw fields.missing(Tag.window) }
        (self.frameLimit, self.window) = (frameLimit, window ?? 0)
    }

    private static func modes(_ field: Field) throws(WireError) -> [ModeOffer] {
        let bytes = try field.bytes(atMost: modesLimit, multipleOf: 2)
        var offers: [ModeOffer] = []
        for at in stride(from: bytes.startIndex, to: bytes.endIndex, by: 2) {
            guard let meter = ModeMeter(rawValue: bytes[at + 1]) else { throw field.badValue(bytes[at + 1]) }
            offers.append(ModeOffer(mode: bytes[at], meter: meter))
        }
        return offers
    }

    var frame: Frame {
        var fields = FieldWriter(.hello, job: 0)
        fields.put(Tag.version, UInt16(major) << 8 | UInt16(minor))
        fields.put(Tag.frameLimit, frameLimit)
        fields.put(Tag.software, text: software, atMost: Self.softwareLimit)
        fields.put(Tag.window, window)
        fields.put(Tag.jobLimit, jobLimit)
        fields.put(Tag.imageLimit, imageLimit)
        fields.put(Tag.memoryMinimum, memoryMinimum)
        fields.put(Tag.memoryMaximum, memoryMaximum)
        fields.put(Tag.wallMaximum, wallMaximum)
        fields.put(Tag.slots, slots)
        fields.put(Tag.modes, bytes: modes.map { $0.flatMap { [$0.mode, $0.meter.rawValue] } })
        return fields.finish()
    }
}

/// How a worker counts the steps of a mode. The raw values are the numbers on the wire.
public enum ModeMeter: UInt8, Sendable, Hashable, CaseIterable {
    /// It cannot: jobs run without a step budget only.
    case none = 0
    /// The figure is the number of instructions retired.
    case exact = 1
    /// The figure may be off; each result says why.
    case bounded = 2
}
