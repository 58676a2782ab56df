// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A SHA-256 digest by which content is known: an image's, or a snapshot's name.
public struct ContentDigest: Sendable, Hashable {
    /// Bytes of a digest: 32.
    public static let byteCount = 32

    private let words: SIMD4<UInt64>

    /// A digest of exactly ``byteCount`` bytes; nil for any other number.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        var words = SIMD4<UInt64>()
        for (index, byte) in bytes.enumerated() { words[index / 8] = words[index / 8] << 8 | UInt64(byte) }
        self.words = words
    }

    /// The bytes, first to last.
    public var bytes: [UInt8] {
        (0..<Self.byteCount).map { UInt8(truncatingIfNeeded: words[$0 / 8] >> UInt64(56 - $0 % 8 * 8)) }
    }
}
