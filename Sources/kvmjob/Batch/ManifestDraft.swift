// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import ArgumentParser
internal import GuestImage
internal import JobModel

/// A line of a manifest in the making: the commands that would submit it, of which one is meant. So a field is read, checked and
/// put into the job as the option of the same name is.
struct ManifestDraft {
    private(set) var submit: SubmitCommand
    private(set) var run: RunCommand
    private(set) var label: String?
    /// The image's path as it is written.
    private(set) var imageName: String?
    /// The modules' paths as they are written, which kernels are told.
    private(set) var moduleNames: [String] = []
    private(set) var input: ManifestInput = .none
    /// The folder that relative paths are from.
    private let folder: String

    /// - Throws: what the parser of command lines throws, which it does not for these.
    init(folder: String) throws {
        self.folder = folder
        submit = try SubmitCommand.parse(["--hex", "f4"])
        submit.hex = []
        run = try RunCommand.parse(["--", "program"])
    }

    mutating func set(_ field: ManifestField, to value: FieldValue) throws(FieldProblem) {
        switch field {
        case .image, .hex, .from, .program, .root, .file, .env: try setSource(field, value)
        case .format, .append, .module: try setKernel(field, value)
        case .board, .vcpus, .turn, .mode, .load, .entry, .set, .memoryAt, .meter: try setStart(field, value)
        case .memory, .steps, .wallTime, .cpuTime, .exits, .outputLimit, .touchedMemory, .scratch:
            try setLimit(field, value)
        case .clock: run.limits.clock = try value.named(ProgramSpec.Clock.init(argument:))
        case .seed: run.limits.seed = try value.parsed(WholeNumber.parse)
        case .stdin, .stdinText: try setInput(field, value)
        case .priority, .wait: try setQueue(field, value)
        case .registers, .fpu, .dump, .screen, .portWrites, .deterministic, .digest: try setReport(field, value)
        case .label: try setLabel(value)
        }
    }

    // MARK: Groups of fields

    private mutating func setSource(_ field: ManifestField, _ value: FieldValue) throws(FieldProblem) {
        switch field {
        case .image:
            let path = try value.path()
            (imageName, submit.images) = (path, [resolved(path)])
        case .hex:
            let digits = try value.text()
            guard try !value.valued({ () throws(ValueError) in try HexText.parse(digits) }).isEmpty else {
                throw value.problem("there are no bytes")
            }
            submit.hex = [digits]
        case .from: submit.from = try value.named(SnapshotNameText.parse)
        case .program: run.program.command = try words(value)
        case .root: run.program.root = resolved(try value.path())
        case .file: run.program.file = try files(value)
        case .env: run.program.variables = try variables(value)
        default: preconditionFailure("\(field) is no field of this group")
        }
    }

    private mutating func setKernel(_ field: ManifestField, _ value: FieldValue) throws(FieldProblem) {
        switch field {
        case .format: submit.image.format = try value.named(ImageFormat.init(argument:))
        case .append: submit.image.append = try value.text()
        case .module:
            moduleNames = try Self.each(try value.texts()) { element throws(FieldProblem) in try element.path() }
            submit.image.module = moduleNames.map(resolved)
            do { try submit.image.validate() } catch { throw value.problem(Self.inFields(error)) }
        default: preconditionFailure("\(field) is no field of this group")
        }
    }

    private mutating func setStart(_ field: ManifestField, _ value: FieldValue) throws(FieldProblem) {
        switch field {
        case .board: submit.guest.namedBoard = try value.named(BoardKind.init(argument:))
        case .vcpus: submit.guest.vcpus = try value.parsed(WholeNumber.parse)
        case .turn: submit.guest.turn = try value.parsed(WholeNumber.parse)
        case .mode: submit.guest.namedMode = try value.named(GuestMode.init(argument:))
        case .load: submit.guest.load = try value.parsed(WholeNumber.parse)
        case .entry: submit.guest.entry = try value.parsed(WholeNumber.parse)
        case .set: submit.guest.set = try registers(value)
        case .memoryAt: submit.memory.pieces = try pieces(value)
        case .meter: submit.guest.meter = try value.named(MeterRequest.init(argument:))
        default: preconditionFailure("\(field) is no field of this group")
        }
    }

    private mutating func setLimit(_ field: ManifestField, _ value: FieldValue) throws(FieldProblem) {
        switch field {
        case .memory:
            let bytes = try value.parsed(SizeText.parse)
            (submit.guest.namedMemory, run.limits.memory) = (bytes, bytes)
        case .steps: submit.guest.steps = try value.parsed(WholeNumber.parse)
        case .wallTime:
            let time = try value.parsed(DurationText.parse)
            (submit.guest.wallTime, run.limits.wallTime) = (time, time)
        case .cpuTime:
            let time = try value.parsed(DurationText.parse)
            (submit.guest.cpuTime, run.limits.cpuTime) = (time, time)
        case .exits: submit.guest.exits = try value.parsed(WholeNumber.parse)
        case .outputLimit:
            let bytes = try value.parsed(SizeText.parse)
            (submit.guest.outputLimit, run.limits.outputLimit) = (bytes, bytes)
        case .touchedMemory: submit.guest.touchedMemory = try value.parsed(SizeText.parse)
        case .scratch: run.limits.scratch = try value.parsed(SizeText.parse)
        default: preconditionFailure("\(field) is no field of this group")
        }
    }

    private mutating func setInput(_ field: ManifestField, _ value: FieldValue) throws(FieldProblem) {
        guard case .none = input else { throw value.problem("\"stdin\" and \"stdin_text\" exclude each other") }
        if field == .stdin {
            input = .file(resolved(try value.path()))
        } else {
            guard let text = value.node.string else { throw value.wrongKind("a string") }
            input = .text(Array(text.utf8))
        }
        submit.stdin = ""
    }

    private mutating func setQueue(_ field: ManifestField, _ value: FieldValue) throws(FieldProblem) {
        if field == .wait {
            submit.queue.wait = try value.parsed(DurationText.parse)
        } else {
            let number = try value.parsed(WholeNumber.parse)
            // What does not fit is out of range for sure.
            submit.queue.priority = UInt8(clamping: number)
        }
        do { try submit.queue.validate() } catch { throw value.problem(Self.inFields(error)) }
        run.limits.queue = submit.queue
    }

    private mutating func setReport(_ field: ManifestField, _ value: FieldValue) throws(FieldProblem) {
        switch field {
        case .registers: submit.inspection.registers = try value.flag()
        case .fpu: submit.inspection.fpu = try value.flag()
        case .dump:
            submit.inspection.dump = try Self.each(try value.texts()) { element throws(FieldProblem) in
                try element.named(MemoryRangeText.parse)
            }
        case .screen: submit.inspection.screen = try value.flag()
        case .portWrites: submit.portWrites = try value.flag()
        case .deterministic: submit.deterministic = try value.flag()
        case .digest: submit.digest = try value.flag()
        default: preconditionFailure("\(field) is no field of this group")
        }
    }

    private mutating func setLabel(_ value: FieldValue) throws(FieldProblem) {
        let text = try value.text()
        guard text.utf8.count <= JobList.labelLimit else {
            throw value.problem("it has \(text.utf8.count) bytes: a label has \(JobList.labelLimit) at most")
        }
        label = text
    }

    // MARK: Lists and objects

    private func words(_ value: FieldValue) throws(FieldProblem) -> [String] {
        let words = try Self.each(try value.texts()) { element throws(FieldProblem) in try element.text() }
        guard words.first?.isEmpty == false else {
            throw value.problem("write the program and its arguments: [\"sort\", \"-n\"]")
        }
        // A program's name may look like an option, or like the mark.
        return ["--"] + words
    }

    private func registers(_ value: FieldValue) throws(FieldProblem) -> [RegisterAssignment] {
        try Self.each(try value.assignments()) { member throws(FieldProblem) in
            try member.value.parsed { (text) throws(ValueError) in
                try RegisterAssignment(argument: "\(member.name)=\(text)")
            }
        }
    }

    private func pieces(_ value: FieldValue) throws(FieldProblem) -> [MemoryPiece] {
        try Self.each(try value.assignments()) { member throws(FieldProblem) in
            var piece = try member.value.named { (text) throws(ValueError) in
                try MemoryPiece(argument: "\(member.name)=\(text)")
            }
            if case .file(let path) = piece.source { piece.source = .file(resolved(path)) }
            return piece
        }
    }

    private func files(_ value: FieldValue) throws(FieldProblem) -> [FileItem] {
        try Self.each(try value.assignments()) { member throws(FieldProblem) in
            guard !member.name.contains("=") else { throw value.problem("a path in the guest has no = in it here") }
            let path = resolved(try member.value.path())
            return try member.value.valued { () throws(ValueError) in try FileItem(argument: "\(member.name)=\(path)") }
        }
    }

    private func variables(_ value: FieldValue) throws(FieldProblem) -> [String] {
        try Self.each(try value.assignments()) { member throws(FieldProblem) in
            guard !member.name.isEmpty, !member.name.contains("="), !member.name.utf8.contains(0) else {
                throw value.problem("\"\(member.name)\" is no name of a variable")
            }
            return "\(member.name)=\(try member.value.text())"
        }
    }

    /// `map` with a typed error.
    private static func each<Element, Value>(
        _ elements: [Element], _ make: (Element) throws(FieldProblem) -> Value
    ) throws(FieldProblem) -> [Value] {
        var values: [Value] = []
        for element in elements { values.append(try make(element)) }
        return values
    }

    private func resolved(_ path: String) -> String { HostFile.absolute(path, from: folder) }

    /// What the commands say of options, said of fields: `"memory_at" is ...` for `--memory-at is ...`.
    static func inFields(_ error: any Error) -> String {
        let words = "\((error as? ValidationError)?.message ?? String(describing: error))".split(
            separator: " ", omittingEmptySubsequences: false)
        let text = words.map { word in
            guard word.hasPrefix("--"), word.count > 2 else { return String(word) }
            let name = word.dropFirst(2).prefix { $0.isLetter || $0 == "-" }
            return "\"\(name.replacing("-", with: "_"))\"" + word.dropFirst(2 + name.count)
        }
        return text.joined(separator: " ")
    }
}

/// What a line's guest reads.
enum ManifestInput: Sendable, Hashable {
    case none
    case file(String)
    case text([UInt8])
}
