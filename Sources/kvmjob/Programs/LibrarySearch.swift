// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage

/// Finds libraries as a dynamic linker does, by reading files. Follows glibc's linker, or musl's where that is the interpreter.
struct LibrarySearch {
    /// How the linker that the program names looks for libraries.
    enum Flavour: Sendable, Hashable { case glibc, musl }

    let flavour: Flavour
    /// The directories of `LD_LIBRARY_PATH` as the guest will have it.
    let environment: [String]
    /// The linker's own directories.
    let defaults: [String]
    private let cache: LinkerCache?
    /// What stands in for a cache that cannot be read.
    private let configured: [String]

    /// A library, and whether the linker finds it in a guest without being told where.
    struct Found {
        let file: LinkedFile
        let isElsewhere: Bool
    }

    /// - Parameter interpreter: the linker's path, followed through all links.
    init(interpreter: String, libraryPath: String?) {
        let name = HostFile.names(interpreter).last ?? ""
        flavour = name.hasPrefix("ld-musl") || name == "libc.so" ? .musl : .glibc
        environment = (libraryPath ?? "").split { $0 == ":" || $0 == ";" }.map(String.init)
        switch flavour {
        case .musl:
            defaults = Self.muslDirectories()
            (cache, configured) = (nil, [])
        case .glibc:
            // Debian and its kin have directories for each architecture; the others keep 64-bit libraries in lib64.
            let isMultiarch = interpreter.contains("/x86_64-linux-gnu/")
            defaults =
                isMultiarch
                ? ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"] : ["/lib64", "/usr/lib64"]
            cache = (try? HostFile.read(LinkerCache.path, limit: LinkerCache.byteLimit)).flatMap(LinkerCache.init)
            configured = cache == nil ? LinkerConfiguration().directories : []
        }
    }

    /// Where musl's linker is told its directories.
    static let muslPath = "/etc/ld-musl-x86_64.path"

    private static func muslDirectories() -> [String] {
        guard let bytes = try? HostFile.read(muslPath, limit: LinkerConfiguration.byteLimit) else {
            return ["/lib", "/usr/local/lib", "/usr/lib"]
        }
        return String(decoding: bytes, as: UTF8.self).split { $0 == ":" || $0.isNewline }.map(String.init)
    }

    /// Whether the linker itself is this library.
    func isBuiltIn(_ name: String) -> Bool {
        guard flavour == .musl, name.hasPrefix("lib") else { return false }
        let stem = name.dropFirst(3).prefix { $0 != "." }
        return ["c", "pthread", "rt", "m", "dl", "util", "xnet"].contains(stem) && stem.count + 3 < name.count
    }

    /// Looks for a library that a file needs. Blocks.
    ///
    /// - Parameter objects: all files so far; `loader` is one of them.
    /// - Throws: ``CommandFailure`` that says who needs it and where it was looked for.
    func find(_ name: String, for loader: Int, among objects: [LinkedFile]) throws(CommandFailure) -> Found {
        var tried: [String] = []
        if name.contains("/") {
            for path in objects[loader].expand(name) {
                if let file = open(path, loader, &tried) { return Found(file: file, isElsewhere: false) }
            }
            throw missing(name, objects[loader], tried)
        }
        for directory in named(for: loader, among: objects) {
            let path = "\(HostFile.absolute(directory))/\(name)"
            if let file = open(path, loader, &tried) { return Found(file: file, isElsewhere: false) }
        }
        guard !objects[loader].dynamics.avoidsDefaultDirectories else { throw missing(name, objects[loader], tried) }
        let fromCache = cache?.paths[name] ?? configured.map { "\($0)/\(name)" }
        for path in fromCache + defaults.map({ "\($0)/\(name)" }) {
            guard let file = open(path, loader, &tried) else { continue }
            return Found(file: file, isElsewhere: !defaults.contains(HostFile.parent(path)))
        }
        throw missing(name, objects[loader], tried)
    }

    /// The directories that the files and the environment name, in the linker's order.
    private func named(for loader: Int, among objects: [LinkedFile]) -> [String] {
        var inherited: [String] = []
        var next: Int? = loader
        while let index = next {
            let object = objects[index]
            next = object.loader
            if flavour == .musl {
                inherited += object.directories(object.dynamics.runpath ?? object.dynamics.rpath)
            } else if object.dynamics.runpath == nil {
                inherited += object.directories(object.dynamics.rpath)
            }
        }
        if flavour == .musl { return environment + inherited }
        let runpath = objects[loader].dynamics.runpath
        let expanded = environment.flatMap { objects[0].expand($0) }
        return (runpath == nil ? inherited : []) + expanded + objects[loader].directories(runpath)
    }

    /// As a linker does, passes by what is no library for this machine.
    private func open(_ path: String, _ loader: Int, _ tried: inout [String]) -> LinkedFile? {
        if !tried.contains(path) { tried.append(path) }
        return try? LinkedFile(path: path, loader: loader)
    }

    private func missing(_ name: String, _ loader: LinkedFile, _ tried: [String]) -> CommandFailure {
        CommandFailure(
            message: "\(loader.path) needs \(String(reflecting: name)), which is not here: "
                + "looked for \(tried.isEmpty ? "nowhere" : tried.joined(separator: ", "))",
            status: ExitStatus.cannotRun)
    }
}
