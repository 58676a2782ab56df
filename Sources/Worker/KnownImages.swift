// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobScheduling
internal import LinuxPersonality
internal import VMRuntime

/// What the worker knows of images and of programs' layers that users have submitted before: their bytes, by digest, the files in
/// them, and what jobs started from.
///
/// Everything is known to the user who submitted it and to no other, not even by how long an answer takes: two users who submit the
/// same image have a ``StartingPoint`` each, since a machine is made ready faster for one that it has seen. Only the bytes
/// themselves are in memory once. Somebody who cannot be told from others has nothing kept.
struct KnownImages {
    /// The most bytes of an image without a digest that is recognised when it comes again: 4 KiB. Its bytes are compared, which
    /// for a larger one costs more than to send its digest.
    static let comparedBytes = 4096

    private var images: FairCache<UInt32, ContentDigest, [UInt8]>
    private var layers: FairCache<UInt32, ContentDigest, Layer>
    private var starts: FairCache<UInt32, StartKey, Start>
    private var lastNumber: UInt64 = 0

    /// What jobs start from.
    struct Start: Sendable {
        /// Names it as long as the worker lives.
        let number: UInt64
        let point: StartingPoint
        /// The layers of a program's files, which others may hold too.
        var layers: [Layer] = []

        /// What a job that waits to start so keeps in memory.
        func holding(_ spec: JobSpec) -> Holding {
            Holding(
                bytes: spec.listBytes, shared: .init(number: number, bytes: point.byteCount),
                layers: layers.map { .init(number: $0.number, bytes: $0.byteCount) })
        }

        /// Bytes of host memory that it holds.
        var byteCount: Int { layers.reduce(point.byteCount) { $0 + $1.byteCount } }
    }

    /// The files of a program's layer. They are parts of its bytes, which count here too: it can outlive them among the images.
    struct Layer: Sendable {
        /// As ``Start/number``.
        let number: UInt64
        let tree: FileTree
        let byteCount: Int
    }

    init(limits: WorkerLimits) {
        let most = limits.tenant.knownImageBytes
        images = FairCache(
            limits: .init(bytes: limits.knownImageBytes, entries: limits.knownImages, bytesPerOwner: most))
        layers = FairCache(
            limits: .init(bytes: limits.fileTreeBytes, entries: limits.knownImages, bytesPerOwner: most))
        starts = FairCache(
            limits: .init(bytes: limits.startingPointBytes, entries: limits.startingPoints, bytesPerOwner: most))
    }

    /// Bytes that are kept for this user, each kind of thing counted by itself.
    func bytes(of user: UInt32?) -> Int {
        guard let user else { return 0 }
        return images.bytes(of: user) + layers.bytes(of: user) + starts.bytes(of: user)
    }

    /// The image of so many bytes that this user has submitted with the digest.
    mutating func image(_ digest: ContentDigest, bytes: UInt64, of user: UInt32?) -> [UInt8]? {
        // A digest with another size is a mistake or a lie: the image has to come, and will not match.
        guard let image = image(digest, of: user), image.count == bytes else { return nil }
        return image
    }

    /// The image that this user has submitted with the digest.
    mutating func image(_ digest: ContentDigest, of user: UInt32?) -> [UInt8]? {
        user.flatMap { images.value(digest, of: $0) }
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
        starts.keep(start, key, bytes: key.byteCount + start.byteCount, of: user)
        return start
    }

    private mutating func makeStart(of image: Image, _ spec: JobSpec) throws(Refusal) -> Start {
        let point = try StartingPoint(image: image.bytes, spec: spec)
        return Start(number: nextNumber(), point: point)
    }

    private mutating func nextNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }

    // MARK: Programs

    /// What a job of the spec's program starts from, in the same way.
    mutating func start(ofProgram images: [Image], _ spec: JobSpec, of user: UInt32?) throws(Refusal) -> Start {
        guard let program = spec.program else { preconditionFailure("a program's layers come with its spec") }
        let key = StartKey(program, spec)
        if let user, let start = starts.value(key, of: user) { return start }
        var found: [Layer] = []
        for (place, image) in images.enumerated() { found.append(try layer(image, at: place, of: user)) }
        let point = try StartingPoint(program: program, layers: found.map(\.tree), memoryBytes: spec.memoryBytes)
        let start = Start(number: nextNumber(), point: point, layers: found)
        if let user { starts.keep(start, key, bytes: key.byteCount + start.byteCount, of: user) }
        return start
    }

    /// The files of a layer, which are read once for all of a user's jobs.
    mutating func layer(_ image: Image, at place: Int, of user: UInt32?) throws(Refusal) -> Layer {
        if let user, let digest = image.digest, let layer = layers.value(digest, of: user) { return layer }
        let tree: FileTree
        do throws(TarError) {
            tree = try FileTree(archive: image.bytes)
        } catch {
            throw Refusal(
                .invalidField,
                "layer \(place) is no archive (tar) that can be taken: \(error.reason.text), in the entry at byte "
                    + "\(error.offset)", value: UInt64(clamping: error.offset))
        }
        let layer = Layer(number: nextNumber(), tree: tree, byteCount: tree.byteCount + image.bytes.count)
        if let user, let digest = image.digest { layers.keep(layer, digest, bytes: layer.byteCount, of: user) }
        return layer
    }
}

/// What decides where a job starts: its image, and of its spec what a layout is made from.
struct StartKey: Sendable, Hashable {
    private enum Identity: Sendable, Hashable {
        case digest(ContentDigest)
        case bytes([UInt8])
        case program(ProgramSpec)
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
    private let board: BoardKind
    /// Which the board of a PC tells.
    private let vcpus: Int
    private let isROM: Bool

    /// Of a program all of it counts: its layers by their digests, and the seed where it was given.
    init(_ program: ProgramSpec, _ spec: JobSpec) { self.init(.program(program), spec) }

    /// nil for an image that has no digest and is too large to be compared.
    init?(_ image: Image, _ spec: JobSpec) {
        if let digest = image.digest {
            self.init(.digest(digest), spec)
        } else {
            guard image.bytes.count <= KnownImages.comparedBytes else { return nil }
            self.init(.bytes(image.bytes), spec)
        }
    }

    private init(_ identity: Identity, _ spec: JobSpec) {
        image = identity
        (mode, memoryBytes, loadAddress, entryPoint) = (spec.mode, spec.memoryBytes, spec.loadAddress, spec.entryPoint)
        (registers, segments, tables) = (spec.registers, spec.segments, spec.tables)
        (controls, pieces) = (spec.controls, spec.pieces)
        (board, isROM) = (spec.board, spec.isROM)
        vcpus = spec.board == .pc ? spec.vcpus : 1
    }

    /// Bytes of host memory that it holds.
    var byteCount: Int {
        let compared =
            switch image {
            case .digest: 0
            case .bytes(let bytes): bytes.count
            case .program(let program): program.heldBytes
            }
        return Self.namedBytes + compared + pieces.count * MemoryLayout<MemoryRange>.stride
    }

    /// More than all that has a name takes, every register, segment and table included: 2 KiB.
    static let namedBytes = 2048
}

extension JobSpec {
    /// Bytes of host memory that its lists hold: the rest of a job takes about the same for all.
    var listBytes: Int {
        (pieces.count + dumps.count) * MemoryLayout<MemoryRange>.stride + label.utf8.count + (program?.heldBytes ?? 0)
    }
}

extension ProgramSpec {
    /// Bytes of host memory that its strings and the names of its layers hold: each string is an allocation of its own.
    fileprivate var heldBytes: Int {
        (arguments.count + environment.count) * Self.stringOverhead + stringBytes
            + layers.count * (MemoryLayout<Layer>.stride + Self.stringOverhead + ContentDigest.byteCount)
    }

    /// Bytes of an array beside its elements, and of what refers to it: 48.
    private static let stringOverhead = 48
}

extension FileTree {
    /// About as many bytes of host memory as it holds beside the archive.
    fileprivate var byteCount: Int { (count + 1) * Self.bytesPerFile }

    /// A node, its name and its place in a directory: 512 bytes, which is more than they take as a rule.
    private static let bytesPerFile = 512
}

extension TarError.Reason {
    /// What is wrong, for people.
    fileprivate var text: String {
        switch self {
        case .truncated: "it ends in the middle"
        case .checksum: "the checksum of a header is not that of its bytes"
        case .number: "a number in a header is not octal, or too large"
        case .format: "a header is neither ustar nor GNU"
        case .paxRecord: "a pax record is not LENGTH KEY=VALUE"
        case .name: "a name is empty, has a zero byte, or a part of it is longer than 255 bytes"
        case .pathTooLong: "a name is longer than \(FileTreeLimits.pathBytes) bytes"
        case .link: "a symbolic link leads nowhere, or has more than \(FileTreeLimits.linkBytes) bytes"
        case .tooDeep: "a name has more than \(FileTreeLimits.depth) parts"
        case .tooManyEntries: "it has more than \(FileTreeLimits.entries) entries"
        case .hardLink: "a hard link names no file that came before it"
        case .notADirectory: "a name leads through what is no directory"
        case .type(let type): "it has an entry of the type \(type), which is not known here"
        }
    }
}
