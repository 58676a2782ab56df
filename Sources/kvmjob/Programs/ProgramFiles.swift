// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage

/// The files of this machine that a program needs to start: itself, the interpreter that it names, and all libraries, found by
/// reading and never by running anything. What a program opens only when it runs (plug-ins, locales) is not known here.
struct ProgramFiles: Sendable {
    /// What a program is, by its first bytes.
    enum Form: Sendable, Hashable {
        case elf(ELFFile.Linkage)
        /// Text that begins with `#!`, the interpreter's path, and what is passed to it before the script's name.
        case script(interpreter: String, argument: String?)

        var isScript: Bool { if case .script = self { true } else { false } }
    }

    let form: Form
    /// Paths of this machine that have to be in the guest's tree, the program's first, in the order in which they were found.
    private(set) var paths: [String] = []
    /// Where the linker has to be told that libraries are; empty if it finds them all by itself.
    private(set) var cache: [String: String] = [:]

    /// The most files that a program can need: 4096.
    static let fileLimit = 4096
    /// The most bytes of the line that names a script's interpreter: 255, as on Linux.
    static let scriptLineLimit = 255

    /// Finds what a program needs. Blocks.
    ///
    /// - Parameters:
    ///   - path: the program's.
    ///   - environment: as the guest will have it; `LD_LIBRARY_PATH` and `LD_PRELOAD` are looked at.
    ///   - fileLimit: the most files that it may need.
    /// - Throws: ``CommandFailure`` if it is no program, or if something that it needs is not here.
    init(
        of path: String, environment: [String: String] = [:], fileLimit: Int = Self.fileLimit
    ) throws(CommandFailure) {
        let path = HostFile.absolute(path)
        paths = [path]
        let bytes = try Self.read(path)
        if let form = Self.script(bytes) {
            self.form = form
            return
        }
        do {
            let program = try LinkedFile(path: path, bytes, loader: nil)
            form = .elf(program.file.linkage)
            try addInterpreter(of: program, environment, fileLimit: fileLimit)
        } catch let error as ELFError {
            throw CommandFailure(
                message: "\(path) is no program for Linux on x86-64: \(error)", status: ExitStatus.cannotRun)
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw CommandFailure(message: "cannot read \(path): \(error)", status: ExitStatus.cannotRun)
        }
    }

    /// What the program needs, for one that is already where it belongs.
    var withoutProgram: ProgramFiles {
        var others = self
        others.paths.removeFirst()
        return others
    }

    private static func read(_ path: String) throws(CommandFailure) -> [UInt8] {
        do {
            return try HostFile.read(path, limit: LinkedFile.byteLimit)
        } catch {
            throw CommandFailure(message: "cannot read \(path): \(error.text)", status: ExitStatus.cannotRun)
        }
    }

    private static func script(_ bytes: [UInt8]) -> Form? {
        guard bytes.starts(with: "#!".utf8) else { return nil }
        let line = bytes.dropFirst(2).prefix(scriptLineLimit).prefix { $0 != UInt8(ascii: "\n") }
        let isBlank = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        let text = line.drop(while: isBlank)
        let name = text.prefix { !isBlank($0) }
        guard !name.isEmpty else { return nil }
        var rest = text.dropFirst(name.count).drop(while: isBlank)
        while let last = rest.last, isBlank(last) || last == UInt8(ascii: "\r") { rest = rest.dropLast() }
        return .script(
            interpreter: String(decoding: name, as: UTF8.self),
            argument: rest.isEmpty ? nil : String(decoding: rest, as: UTF8.self))
    }

    // MARK: Libraries

    private mutating func addInterpreter(
        of program: LinkedFile, _ environment: [String: String], fileLimit: Int
    ) throws(CommandFailure) {
        guard let interpreter = program.file.interpreter else { return }
        let path = HostFile.absolute(String(decoding: interpreter, as: UTF8.self))
        guard let real = HostFile.followed(path), real.kind == .regular else {
            throw CommandFailure(
                message: "\(program.path) needs the interpreter \(path), which is not here",
                status: ExitStatus.cannotRun)
        }
        paths.append(path)
        let search = LibrarySearch(interpreter: real.path, libraryPath: environment["LD_LIBRARY_PATH"])
        if search.flavour == .musl, HostFile(at: LibrarySearch.muslPath) != nil { paths.append(LibrarySearch.muslPath) }
        var loaded = Set((try? LinkedFile(path: path, loader: 0).names) ?? [])
        loaded.formUnion([path])
        let preloaded = (environment["LD_PRELOAD"] ?? "").split { $0 == ":" || $0 == " " }.map(String.init)
        try addLibraries(of: program, preloaded: preloaded, loaded: &loaded, search, fileLimit: fileLimit)
    }

    /// Breadth first, as linkers do: who asks for a library first decides which one it is.
    private mutating func addLibraries(
        of program: LinkedFile, preloaded: [String], loaded: inout Set<String>, _ search: LibrarySearch,
        fileLimit: Int
    ) throws(CommandFailure) {
        var objects = [program]
        var next = 0
        while next < objects.count {
            let needed = objects[next].dynamics.needed.map { String(decoding: $0, as: UTF8.self) }
            for name in (next == 0 ? preloaded : []) + needed where !loaded.contains(name) && !search.isBuiltIn(name) {
                let found = try search.find(name, for: next, among: objects)
                loaded.formUnion(found.file.names + [name])
                objects.append(found.file)
                paths.append(found.file.path)
                if found.isElsewhere { cache[name] = found.file.path }
                guard paths.count <= fileLimit else {
                    throw CommandFailure(
                        message: "\(program.path) needs more than \(fileLimit) files", status: ExitStatus.cannotRun
                    )
                }
            }
            next += 1
        }
    }
}

extension GuestTree {
    /// Puts a program's files where the guest looks for them, and a cache for its linker if some are where that would not look.
    ///
    mutating func bring(_ program: ProgramFiles, in layer: Layer) throws(CommandFailure) {
        for path in program.paths { try bring(path, in: layer) }
        guard !program.cache.isEmpty else { return }
        let cache = LinkerCache(program.cache).encoded
        try add(.file(.bytes(cache), mode: 0o644), at: GuestPath(LinkerCache.path), in: .program)
    }
}
