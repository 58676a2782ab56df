// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import GuestImage
internal import JobModel
internal import KVMJobClient

/// The option that puts bytes anywhere in guest memory, beside an image or instead of one.
struct MemoryOptions: ParsableArguments {
    @Option(
        name: .customLong("memory-at"),
        help: ArgumentHelp(
            "Bytes in guest memory at the start, beside the image or instead of one (repeatable): 0x8000=\"0a ff\" or 0x8000=@file.",
            valueName: "address=bytes"),
        transform: MemoryPiece.init(argument:))
    var pieces: [MemoryPiece] = []

    /// Whether these pieces go with the other options.
    func check(hasImage: Bool, _ guest: GuestOptions) throws {
        guard !pieces.isEmpty else { return }
        guard pieces.count + (hasImage ? 1 : 0) <= MemoryRange.pieceLimit else {
            throw ValidationError("--memory-at can be given \(MemoryRange.pieceLimit) times, an image counting as one.")
        }
        guard hasImage || guest.namedEntry != nil else {
            throw ValidationError("Without an image, say with --entry where the guest starts.")
        }
        guard hasImage || guest.load == nil else {
            throw ValidationError("--load is for an image, and there is none; --memory-at has its own addresses.")
        }
    }
}

/// Bytes for a place in guest memory: `--memory-at ADDRESS=BYTES`.
struct MemoryPiece: Hashable, Sendable {
    var address: UInt64
    /// A file, or bytes written out.
    var source: ImageSource

    /// Reads `0x8000=0a ff` or `0x8000=@file`.
    init(argument: String) throws(ValueError) {
        guard let equals = argument.firstIndex(of: "=") else {
            throw ValueError(
                "\"\(argument)\" has no \"=\": write ADDRESS=BYTES, as in 0x8000=\"0a ff\", or ADDRESS=@FILE")
        }
        address = try WholeNumber.parse(String(argument[..<equals]))
        let text = String(argument[argument.index(after: equals)...])
        guard !text.hasPrefix("@") else {
            source = .file(String(text.dropFirst()))
            return
        }
        guard try !HexText.parse(text).isEmpty else { throw ValueError("there are no bytes behind \"\(argument)\"") }
        source = .hex(text)
    }
}

/// The pieces' bytes.
struct LoadedMemory: Sendable {
    private var ranges: [MemoryRange] = []
    private var bytes: [UInt8] = []

    /// - Parameter limit: the most bytes of all pieces together.
    /// - Throws: ``Rejection``.
    init(_ pieces: [MemoryPiece], limit: UInt64) async throws {
        for piece in pieces {
            let more = try await piece.source.load(limit: limit - min(limit, UInt64(bytes.count)))
            ranges.append(MemoryRange(address: piece.address, count: UInt64(more.count)))
            bytes += more
        }
    }

    /// The job that has an image and these pieces. The image stays where it would be without them.
    ///
    /// - Parameter spec: with the image's own pieces, where it has several.
    func join(_ image: [UInt8], from source: ImageSource, _ spec: JobSpec) -> LoadedImage {
        // An empty image is refused as what it is.
        guard !ranges.isEmpty, source == .none || !image.isEmpty else { return LoadedImage(spec, image) }
        var spec = spec
        let isOnePlace = source != .none && spec.pieces.isEmpty
        spec.pieces += ranges
        if isOnePlace {
            let load = spec.loadAddress ?? GuestLayout.defaultLoadAddress(of: image, mode: spec.mode)
            spec.pieces.insert(MemoryRange(address: load, count: UInt64(image.count)), at: 0)
            spec.entryPoint = spec.entryPoint ?? load
            spec.loadAddress = nil
        }
        return LoadedImage(spec, image + bytes)
    }
}

/// A job's image, and the job as it is with that image.
struct LoadedImage: Sendable {
    var spec: JobSpec
    /// An image with its digest, computed once for all repetitions, or the snapshot that the job starts from in place of one.
    let source: JobSource

    init(_ spec: JobSpec, _ bytes: [UInt8]) { (self.spec, source) = (spec, .image(Image(submitting: bytes))) }

    init(_ spec: JobSpec, from snapshot: ContentDigest) { (self.spec, source) = (spec, .snapshot(snapshot)) }

    /// The image's; none of a snapshot, which the worker has.
    var bytes: [UInt8] {
        guard case .image(let image) = source else { return [] }
        return image.bytes
    }
}
