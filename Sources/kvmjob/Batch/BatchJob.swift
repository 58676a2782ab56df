// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import JobProtocol
internal import KVMJobClient

/// A line's job, ready to be submitted: its files are read.
struct BatchJob: Sendable {
    /// Where the line stands in the manifest, the first being 1.
    var line: Int
    /// What the job is known by in results: see ``JobIdentity``.
    var id: String
    var label: String?
    /// What runs, as the line has it.
    var image: String
    /// Complete, with a label for the worker.
    var spec: JobSpec
    var source: JobSource
    /// All of what the guest reads, nil where it has no input.
    var input: [UInt8]?
    /// Whether the line says how long the job may take; a program that does not may take as long as its worker allows.
    var hasOwnWallTime = true

    /// The most bytes of a guest's input: 64 MiB.
    static let inputLimit: UInt64 = 64 << 20

    /// A job that was made elsewhere, with its id.
    init(
        line: Int, id: String, label: String?, image: String, spec: JobSpec, source: JobSource, input: [UInt8]?,
        hasOwnWallTime: Bool
    ) {
        (self.line, self.id, self.label, self.image) = (line, id, label, image)
        (self.spec, self.source, self.input) = (spec, source, input)
        self.hasOwnWallTime = hasOwnWallTime
    }

    /// Reads what the line names.
    ///
    /// - Parameter limit: the most bytes of an image or of a program's layer.
    /// - Throws: ``Rejection``: something is not there, or is too large.
    init(_ line: ManifestLine, files: BatchFiles, limit: UInt64 = ImageSource.byteLimit) async throws {
        (self.line, label, image) = (line.number, line.label, line.image)
        input = try await Self.input(line.input, files)
        switch line.work {
        case .image(let image, let pieces, let start):
            (spec, source) = try await Self.load(line.spec, image, pieces, start, files, limit)
        case .program(let request, let limits):
            let program = try await Self.load(request, files, limit)
            spec = limits.spec(program, hasInput: input != nil, longest: WorkerTerms.defaultWallMaximum)
            source = .program(program.layers)
            hasOwnWallTime = limits.wallTime != nil
        }
        spec.hasInput = input != nil
        spec.label = label ?? JobList.label(image)
        id = ""
        id = JobIdentity(self).text
    }

    private static func input(_ input: ManifestInput, _ files: BatchFiles) async throws -> [UInt8]? {
        switch input {
        case .none: return nil
        case .text(let bytes): return bytes
        case .file(let path): return try await files.image(.file(path), limit: inputLimit).bytes
        }
    }

    private static func load(
        _ spec: JobSpec, _ image: ImageSource, _ pieces: [MemoryPiece], _ start: ImageStart, _ files: BatchFiles,
        _ limit: UInt64
    ) async throws -> (JobSpec, JobSource) {
        switch image {
        case .snapshot(let name): return (spec, .snapshot(name))
        case .file, .hex, .none, .standardInput: break
        }
        let file = image == .none ? Image([]) : try await files.image(image, limit: limit)
        guard !pieces.isEmpty || start.decides(on: file.bytes) else {
            // A small one is sent sooner than looked up.
            return (spec, .image(file.bytes.count < Image.leastOffered ? Image(file.bytes) : file))
        }
        let surroundings = try await LoadedSurroundings(pieces, start, limit: limit)
        let loaded = try surroundings.join(file.bytes, from: image, spec)
        return (loaded.spec, loaded.source)
    }

    private static func load(
        _ request: ProgramRequest, _ files: BatchFiles, _ limit: UInt64
    ) async throws -> ProgramSubmission {
        do {
            return try await files.program(request, limit: limit)
        } catch let failure as CommandFailure {
            throw Rejection.unreadable(failure.message)
        }
    }

    /// Bytes that only this job holds.
    var ownBytes: Int { input?.count ?? 0 }

    /// Bytes that lines can share, each by its digest.
    var holdings: [(key: ContentDigest, bytes: Int)] {
        switch source {
        case .image(let image): image.digest.map { [($0, image.bytes.count)] } ?? []
        case .program(let files): files.compactMap { file in file.digest.map { ($0, file.bytes.count) } }
        case .snapshot: []
        }
    }
}
