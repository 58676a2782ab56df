// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The bytes that somebody submits, and what they are known by.
public struct Image: Sendable, Hashable {
    /// All of it, first to last.
    public let bytes: [UInt8]
    /// SHA-256 of the bytes, where somebody has computed it. Whoever takes an image from a peer checks it.
    public let digest: ContentDigest?

    /// An image by its bytes, and by their digest if it is known.
    public init(_ bytes: [UInt8], digest: ContentDigest? = nil) { (self.bytes, self.digest) = (bytes, digest) }
}
