// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobScheduling
internal import VMRuntime

/// What the worker knows of images that users have submitted before: their bytes, by digest, and what jobs started from.
///
/// Everything is known to the user who submitted it and to no other, not even by how long an answer takes: two users who submit the
/// same image have a ``StartingPoint`` each, since a machine is made ready faster for one that it has seen. Only the bytes
/// themselves are in memory once. Somebody who cannot be told from others has nothing kept.
struct KnownImages {
    /// The most bytes of an image without a digest that is recognised when it comes again: 4 KiB. Its bytes are compared, which
    /// for a larger one costs more than to send its digest.
    static let comparedBytes = 4096

    private var images: FairCache<UInt32, ContentDigest, [UInt8]>
    private var starts: FairCache<UInt32, StartKey, Start>
    private var lastNumber: UInt64 = 0

    /// What jobs start from.
    struct Start: Sendable {
        /// Names it as long as the worker lives.
        let number: UInt64
        let point: StartingPoint
    }

    init(limits: WorkerLimits) {
        images = FairCache(limits: .init(bytes: limits.knownImageBytes, entries: limits.knownImages))
        starts = FairCache(limits: .init(bytes: limits.startingPointBytes, entries: limits.startingPoints))
    }

    /// The image of so many bytes that this user has submitted with the digest.
    mutating func image(_ digest: ContentDigest, bytes: UInt64, of user: UInt32?) -> [UInt8]? {
        // A digest with another size is a mistake or a lie: the image has to come, and will not match.
        guard let user, let image = images.value(digest, of: user), image.count == bytes else { return nil }
        return image
    }

    /// Keeps an image whose bytes have been compared with its digest; one without a digest is not kept.
    mutating func keep(_ image: Image, of user: UInt32?) {
        guard let user, let digest = image.digest else { return }
        let bytes = images.storage(for: digest) ?? image.bytes
        images.keep(bytes, digest, bytes: bytes.count, of: user)
    }

    /// What a job of this image starts from, the same as that of an earlier one if nothing that decides it has changed.
    mutating func start(of image: Image, _ spec: JobSpec, of user: UInt32?) throws(Refusal) -> Start {
        guard let user, let key = StartKey(image, spec) else { return try makeStart(of: image, spec) }
        if let start = starts.value(key, of: user) { return start }
        let start = try makeStart(of: image, spec)
        starts.keep(start, key, bytes: key.byteCount + start.point.byteCount, of: user)
        return start
    }

    private mutating func makeStart(of image: Image, _ spec: JobSpec) throws(Refusal) -> Start {
        let point = try StartingPoint(image: image.bytes, spec: spec)
        lastNumber += 1
        return Start(number: lastNumber, point: point)
    }
}

/// What decides where a job starts: its image, and of its spec what a layout is made from.
struct StartKey: Sendable, Hashable {
    private enum Identity: Sendable, Hashable {
        case digest(ContentDigest)
        case bytes([UInt8])
    }

    private let image: Identity
    private let mode: GuestMode
    private let memoryBytes: UInt64
    private let loadAddress: UInt64?
    private let entryPoint: UInt64?
    private let registers: [RegisterName: UInt64]
    private let segments: [SegmentName: Segment]
    private let tables: [TableName: DescriptorTable]
    private let controls: [ControlName: UInt64]
    private let pieces: [MemoryRange]

    /// nil for an image that has no digest and is too large to be compared.
    init?(_ image: Image, _ spec: JobSpec) {
        if let digest = image.digest {
            self.image = .digest(digest)
        } else {
            guard image.bytes.count <= KnownImages.comparedBytes else { return nil }
            self.image = .bytes(image.bytes)
        }
        (mode, memoryBytes, loadAddress, entryPoint) = (spec.mode, spec.memoryBytes, spec.loadAddress, spec.entryPoint)
        (registers, segments, tables) = (spec.registers, spec.segments, spec.tables)
        (controls, pieces) = (spec.controls, spec.pieces)
    }

    /// Bytes of host memory that it holds.
    var byteCount: Int {
        let compared = if case .bytes(let bytes) = image { bytes.count } else { 0 }
        return Self.namedBytes + compared + pieces.count * MemoryLayout<MemoryRange>.stride
    }

    /// More than all that has a name takes, every register, segment and table included: 2 KiB.
    static let namedBytes = 2048
}

extension JobSpec {
    /// Bytes of host memory that its lists hold: the rest of a job takes about the same for all.
    var listBytes: Int { (pieces.count + dumps.count) * MemoryLayout<MemoryRange>.stride + label.utf8.count }
}
