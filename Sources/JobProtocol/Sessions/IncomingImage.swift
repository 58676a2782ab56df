// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What comes in a job's IMAGE frames: an image, or some of a program's layers, one behind the other.
struct IncomingImage {
    /// One of them. Where its digest was named, its bytes are hashed as they come.
    struct Part {
        /// How many bytes it was announced to have, at least 1.
        let bytes: UInt64
        let digest: ContentDigest?
        /// What it is called where it is not what was announced.
        let name: String
    }

    /// The bytes of all parts together.
    let byteCount: UInt64
    private let parts: [Part]
    private var whole: [Image] = []
    private var partial: [UInt8] = []
    private var hash: ImageHash?
    private var taken: UInt64 = 0
    private var wrongPart: Part?

    /// - Parameter parts: at least one; their bytes together fit in 64 bits.
    init(_ parts: [Part]) {
        (self.parts, byteCount) = (parts, parts.reduce(0) { $0 + $1.bytes })
        hash = parts.first?.digest.map { _ in ImageHash() }
    }

    /// Takes a piece and returns whether it was the last.
    mutating func take(_ chunk: StreamChunk) throws(WireError) -> Bool {
        guard chunk.offset == taken else { throw .badOffset(.image, chunk.offset, expected: taken) }
        guard chunk.bytes.count <= byteCount - taken else {
            throw WireError(
                .dataOverrun, "the image has more bytes than the \(byteCount) announced",
                frameType: FrameType.image.rawValue, limit: byteCount, value: taken + UInt64(chunk.bytes.count))
        }
        append(chunk.bytes)
        guard !chunk.isEnd || taken == byteCount else {
            throw WireError(
                .payloadTruncated, "the image ends after \(taken) of \(byteCount) bytes",
                frameType: FrameType.image.rawValue, limit: byteCount, value: taken)
        }
        return chunk.isEnd
    }

    /// Gives away what has come whole, in the order of the parts.
    consuming func finish() -> [Image] { whole }

    /// Why what has come whole is not what was announced.
    var digestRefusal: Refusal? {
        wrongPart.map { part in
            Refusal(
                .imageDigestMismatch,
                "the bytes of \(part.name) do not have the digest that the submission named, SHA-256 of them")
        }
    }

    private mutating func append(_ bytes: [UInt8]) {
        taken += UInt64(bytes.count)
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = parts[whole.count]
            let piece = rest.prefix(Int(clamping: part.bytes - UInt64(partial.count)))
            grow(by: piece.count, upTo: part.bytes)
            partial += piece
            hash?.append(piece.count == bytes.count ? bytes : Array(piece))
            rest = rest.dropFirst(piece.count)
            if partial.count == part.bytes { endPart(part) }
        }
    }

    private mutating func endPart(_ part: Part) {
        if let hash, hash.digest != part.digest, wrongPart == nil { wrongPart = part }
        whole.append(Image(partial, digest: part.digest))
        partial = []
        hash = whole.count < parts.count ? parts[whole.count].digest.map { _ in ImageHash() } : nil
    }

    /// Reserves as bytes come, twice as much each time, and never more than the part was announced to have.
    private mutating func grow(by count: Int, upTo most: UInt64) {
        let needed = partial.count + count
        guard needed > partial.capacity else { return }
        partial.reserveCapacity(Int(min(most, UInt64(max(needed, partial.capacity * 2)))))
    }
}
