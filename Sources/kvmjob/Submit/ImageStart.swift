// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel

/// What a command line says of how an image starts, of which its bytes decide what counts.
struct ImageStart: Hashable, Sendable {
    var format: ImageFormat?
    var commandLine: String?
    var modules: [ModuleFile] = []
    var mode: GuestMode?
    var loadAddress: UInt64?
    var entryPoint: UInt64?
    var memoryBytes: UInt64?
    var board: BoardKind?
    var registers: [RegisterAssignment] = []
    /// Whether the last window of memory that is asked for is all of it, which a kernel can have more of.
    var wantsCore = false

    /// Nothing said: each image starts by its bytes alone.
    init() {}

    init(_ image: ImageOptions) {
        (format, commandLine) = (image.format, image.append)
        modules = image.module.map { ModuleFile(path: $0, text: $0) }
    }

    init(_ image: ImageOptions, _ guest: GuestOptions, wantsCore: Bool = false) {
        self.init(image)
        (mode, loadAddress, entryPoint) = (guest.namedMode, guest.load, guest.namedEntry)
        (memoryBytes, board, registers) = (guest.namedMemory, guest.namedBoard, guest.set)
        self.wantsCore = wantsCore
    }

    /// Whether it takes a plan to start this image: one without a header is a job as it is, and the worker knows its place.
    func decides(on image: [UInt8]) -> Bool {
        guard format == nil, commandLine == nil, modules.isEmpty else { return true }
        return !ImageFormat(recognising: image).isPlain
    }
}

/// A file that becomes a module.
struct ModuleFile: Hashable, Sendable {
    var path: String
    /// The module's text: the path as the user wrote it, wherever that was.
    var text: String
}

/// How images start, with the files read that this takes.
struct LoadedStart: Sendable {
    private let start: ImageStart
    private let modules: [LaunchOptions.Module]

    /// - Parameter limit: the most bytes of all modules together.
    /// - Throws: ``Rejection``.
    init(_ start: ImageStart, limit: UInt64) async throws {
        var (modules, left) = ([LaunchOptions.Module](), limit)
        for file in start.modules {
            let bytes = try await ImageSource.file(file.path).load(limit: left)
            left -= UInt64(bytes.count)
            modules.append(LaunchOptions.Module(text: Array(file.text.utf8), bytes: bytes))
        }
        (self.start, self.modules) = (start, modules)
    }

    /// How an image of any format starts.
    ///
    /// - Throws: `LaunchError`.
    func plan(_ image: [UInt8]) throws(LaunchError) -> LaunchPlan { try LaunchPlan(image, options) }

    /// A job with its image as a worker takes them. An image without a header stays as it is, unless it is said to be one.
    ///
    /// - Parameter spec: the job that the options make of an image without a header.
    /// - Throws: ``Rejection``.
    func apply(to image: [UInt8], _ spec: JobSpec) throws -> (spec: JobSpec, image: [UInt8]) {
        guard start.decides(on: image) else { return (spec, image) }
        let format = start.format ?? ImageFormat(recognising: image)
        do {
            return format.isPlain ? try plain(image, spec) : try job(plan(image), spec)
        } catch let error as LaunchError {
            throw Rejection(code: "image-unusable", message: error.description, value: error.value)
        } catch let error as ValueError {
            throw Rejection(code: "invalid-field", message: "--set: \(error.description)")
        }
    }

    private var options: LaunchOptions {
        var options = LaunchOptions(
            format: start.format, commandLine: start.commandLine.map { Array($0.utf8) }, modules: modules,
            memoryBytes: start.memoryBytes)
        (options.mode, options.loadAddress) = (start.mode, start.loadAddress)
        options.entryPoint = start.entryPoint
        return options
    }

    private func plain(_ image: [UInt8], _ spec: JobSpec) throws -> (spec: JobSpec, image: [UInt8]) {
        var options = options
        options.memoryBytes = spec.memoryBytes
        let plan = try LaunchPlan(image, options)
        var spec = spec
        spec.loadAddress = plan.map.regions.first?.address
        return (spec, plan.pieces.flatMap(\.bytes))
    }

    /// What `--set` means depends on the mode, which is the plan's.
    private func job(_ plan: LaunchPlan, _ spec: JobSpec) throws -> (spec: JobSpec, image: [UInt8]) {
        guard plan.rom == nil || start.board != .bare else {
            throw Rejection(code: "image-unusable", message: "a ROM needs --board pc: board bare has no place for one")
        }
        let state = try ProcessorState(start.registers, mode: plan.mode)
        var spec = spec
        (spec.registers, spec.entryPoint) = (state.registers, nil)
        (spec.segments, spec.tables, spec.controls) = (state.segments, state.tables, state.controls)
        if start.wantsCore, let core = spec.dumps.indices.last { spec.dumps[core].count = plan.memoryBytes }
        return plan.job(spec)
    }
}

/// All that lies beside an image, read: what `--memory-at` and the options of the image's start name.
struct LoadedSurroundings: Sendable {
    let memory: LoadedMemory
    let start: LoadedStart

    /// - Parameter limit: the most bytes of all pieces of memory together, and of all modules.
    /// - Throws: ``Rejection``.
    init(_ pieces: [MemoryPiece], _ start: ImageStart, limit: UInt64) async throws {
        memory = try await LoadedMemory(pieces, limit: limit)
        self.start = try await LoadedStart(start, limit: limit)
    }

    /// The job that has an image, as it starts, and these pieces.
    ///
    /// - Throws: ``Rejection``.
    func join(_ image: [UInt8], from source: ImageSource, _ spec: JobSpec) throws -> LoadedImage {
        guard source != .none else { return memory.join(image, from: source, spec) }
        let job = try start.apply(to: image, spec)
        return memory.join(job.image, from: source, job.spec)
    }
}
