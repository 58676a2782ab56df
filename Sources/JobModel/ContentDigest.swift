// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A SHA-256 digest by which content is known: an image's, or a snapshot's name.
public struct ContentDigest: Sendable, Hashable {
    /// Bytes of a digest: 32.
    public static let byteCount = 32

    /// The bytes, first to last, eight to a word. No vector: its alignment of 32 bytes would be that of everything that holds a
    /// digest, results among it, and what the frames of asynchronous functions hold is aligned to 16.
    private let first: UInt64, second: UInt64, third: UInt64, fourth: UInt64

    /// A digest of exactly ``byteCount`` bytes; nil for any other number.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        var rest = bytes[...]
        func word() -> UInt64 {
            defer { rest = rest.dropFirst(8) }
            return rest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        }
        (first, second, third, fourth) = (word(), word(), word(), word())
    }

    /// The bytes, first to last.
    public var bytes: [UInt8] {
        [first, second, third, fourth].flatMap { word in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> UInt64($0)) }
        }
    }
}
