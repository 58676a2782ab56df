// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Crypto
public import JobModel

/// The digest of an image whose bytes come one piece after the other.
///
/// SHA-256 is part of the wire, and it is the session that sees an image's pieces come: so it is computed here, while they are in
/// the processor's cache, and not by a pass of its own over an image of many MiB.
struct ImageHash: Sendable {
    private var hash = SHA256()

    mutating func append(_ bytes: [UInt8]) { hash.update(data: bytes) }

    /// The digest of all bytes so far.
    var digest: ContentDigest {
        guard let digest = ContentDigest(Array(hash.finalize())) else {
            preconditionFailure("SHA-256 has as many bytes as a digest")
        }
        return digest
    }
}

extension ContentDigest {
    /// SHA-256 of these bytes. Takes about a millisecond for each MiB.
    public init(hashing bytes: [UInt8]) {
        var hash = ImageHash()
        hash.append(bytes)
        self = hash.digest
    }
}

extension Image {
    /// The image with its digest, computed now unless it is known.
    public var hashed: Image { digest == nil ? Image(bytes, digest: ContentDigest(hashing: bytes)) : self }
}
