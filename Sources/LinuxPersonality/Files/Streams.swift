// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Which of its two outputs a guest wrote to.
public enum OutputStream: Sendable, Hashable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case standardOutput, standardError

    /// The most bytes that one call takes: so much is sent before the guest goes on.
    static let maximumWrite = 1 << 16
}

/// Bytes that the guest wrote and the runtime is to send.
public struct Outgoing: Sendable, Hashable {
    /// Where to.
    public var stream: OutputStream
    /// At least one.
    public var bytes: [UInt8]

    init(stream: OutputStream, bytes: [UInt8]) { (self.stream, self.bytes) = (stream, bytes) }
}

/// Standard input as far as it came.
struct InputBuffer: Sendable {
    private var bytes: [UInt8] = []
    private var taken = 0
    /// Whether nothing follows.
    private(set) var hasEnded = false
    /// How many bytes have been read.
    private(set) var readBytes: UInt64 = 0

    /// How many bytes can be read now.
    var count: Int { bytes.count - taken }

    mutating func append(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

    mutating func end() { hasEnded = true }

    /// Bytes to be read, which stay.
    func peek(_ limit: Int) -> ArraySlice<UInt8> { bytes[taken...].prefix(max(0, limit)) }

    /// Bytes that were read. Storage is moved only when half of it is used up.
    mutating func drop(_ count: Int) {
        taken += count
        readBytes &+= UInt64(count)
        guard taken >= bytes.count || taken > 1 << 16 && taken > bytes.count / 2 else { return }
        bytes.removeFirst(taken)
        taken = 0
    }
}

/// What the guest's clocks say while a call is served, in nanoseconds.
public struct Moment: Sendable, Hashable {
    /// Since an instant before the program began.
    public var monotonic: UInt64 = 0
    /// Since 1970.
    public var realtime: UInt64 = 0

    /// The beginning of both.
    public init() {}

    /// What two clocks say.
    public init(monotonic: UInt64, realtime: UInt64) { (self.monotonic, self.realtime) = (monotonic, realtime) }
}
