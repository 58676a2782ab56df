// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Which of its two outputs a guest wrote to.
enum OutputStream: Sendable, Hashable {
    case standardOutput, standardError

    /// The most bytes that one call takes: so much is sent before the guest goes on.
    static let maximumWrite = 1 << 16
}

/// Bytes that the guest wrote and the runtime is to send.
struct Outgoing: Sendable, Hashable {
    var stream: OutputStream
    var bytes: [UInt8]
}

/// Standard input as far as it came.
struct InputBuffer: Sendable {
    private var bytes: [UInt8] = []
    private var taken = 0
    /// Whether nothing follows.
    private(set) var hasEnded = false

    /// How many bytes can be read now.
    var count: Int { bytes.count - taken }

    mutating func append(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

    mutating func end() { hasEnded = true }

    /// Bytes to be read, which stay.
    func peek(_ limit: Int) -> ArraySlice<UInt8> { bytes[taken...].prefix(max(0, limit)) }

    /// Bytes that were read. Storage is moved only when half of it is used up.
    mutating func drop(_ count: Int) {
        taken += count
        guard taken >= bytes.count || taken > 1 << 16 && taken > bytes.count / 2 else { return }
        bytes.removeFirst(taken)
        taken = 0
    }
}

/// What the guest's clocks say while a call is served, in nanoseconds.
struct Moment: Sendable, Hashable {
    var monotonic: UInt64 = 0
    /// Since 1970.
    var realtime: UInt64 = 0
}
