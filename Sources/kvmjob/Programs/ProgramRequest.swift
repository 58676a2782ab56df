// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol

/// What the user says of a program, out of which a ``ProgramSubmission`` is made.
///
/// Which program is meant:
///
/// | as written | without `--root` | with `--root` |
/// |---|---|---|
/// | `name` | looked for in the caller's `PATH` on this machine | looked for in the guest's `PATH` in the root, and nowhere else |
/// | `dir/name`, `./name` | this machine's | this machine's |
/// | `/dir/name` | a `--file` of that path, else this machine's | a `--file` of that path, else the root's if it has one, else this machine's |
///
/// A program of this machine comes with all that it needs to start, at the paths that it has here. A program of the root finds what
/// it needs in the root.
struct ProgramRequest: Sendable {
    /// A directory or an archive.
    var root: String?
    var items: [FileItem] = []
    var environment = GuestEnvironment()
    var program: String
    var arguments: [String] = []
    /// The caller's `PATH`.
    var callerPath: String?

    /// The most interpreters that scripts name one after the other: 4, as on Linux.
    static let interpreterLimit = 4

    /// Reads all files and makes the archives. Blocks for as long as that takes.
    ///
    /// - Parameter limit: the most bytes of a layer.
    /// - Throws: ``CommandFailure``.
    func submission(limit: UInt64 = ImageSource.byteLimit) throws(CommandFailure) -> ProgramSubmission {
        var tree = GuestTree()
        let archive = try addRoot(to: &tree, limit: limit)
        for item in items { try item.add(to: &tree) }
        let path = try addProgram(to: &tree)
        var layers = archive.map { [$0] } ?? []
        for layer in GuestTree.Layer.allCases where !(layer == .root && archive != nil) && tree.hasContent(layer) {
            var bytes: [UInt8] = []
            try tree.writeArchive(of: layer, limit: limit) { bytes += $0 }
            layers.append(Image(bytes))
        }
        return ProgramSubmission(
            layers: layers.map(\.hashed), program: path, arguments: [program] + arguments,
            environment: environment.entries, warnings: tree.warnings)
    }

    /// - Returns: the root's archive, where it is one.
    private func addRoot(to tree: inout GuestTree, limit: UInt64) throws(CommandFailure) -> Image? {
        guard let root else { return nil }
        if HostFile.followed(root)?.kind == .directory {
            try tree.walk(root, to: .root, in: .root)
            return nil
        }
        let bytes: [UInt8]
        do {
            bytes = try HostFile.read(root, limit: limit)
        } catch {
            throw CommandFailure(message: "cannot read \(root): \(error.text)", status: ExitStatus.cannotRun)
        }
        try tree.index(bytes, name: root, in: .root)
        return Image(bytes)
    }
}

extension ProgramRequest {
    // MARK: The program

    /// - Returns: the program's path in the guest.
    fileprivate func addProgram(to tree: inout GuestTree) throws(CommandFailure) -> String {
        if program.hasPrefix("/"), isFile(program, in: tree) {
            // An item's program was brought by content; what it needs is looked for as if it were called where it is.
            if case .file(.host(let path), _) = tree.followed(GuestPath(program))?.node, root == nil || isItem(tree) {
                try addNeeds(of: path, to: &tree, depth: 0)
            }
            return program
        }
        if program.contains("/") {
            return try bring(HostFile.absolute(program), to: &tree)
        }
        if root != nil { return try findInRoot(tree) }
        for directory in (callerPath ?? "").split(separator: ":", omittingEmptySubsequences: false) {
            let path = HostFile.absolute("\(directory.isEmpty ? "." : directory)/\(program)")
            guard let file = HostFile.followed(path), file.kind == .regular, file.mode & 0o111 != 0 else { continue }
            return try bring(path, to: &tree)
        }
        throw CommandFailure(
            message: "\(program) is in no directory of PATH: write its path, as in ./\(program)",
            status: ExitStatus.notFound)
    }

    private func isFile(_ path: String, in tree: GuestTree) -> Bool {
        if case .file = tree.followed(GuestPath(path))?.node { true } else { false }
    }

    /// Whether the program is one of the items.
    private func isItem(_ tree: GuestTree) -> Bool {
        guard let place = tree.followed(GuestPath(program))?.path else { return false }
        return tree[.items][place] != nil
    }

    private func findInRoot(_ tree: GuestTree) throws(CommandFailure) -> String {
        let directories = environment["PATH"] ?? GuestEnvironment.defaultPath
        for directory in directories.split(separator: ":") {
            if isFile("\(directory)/\(program)", in: tree) { return "\(directory)/\(program)" }
        }
        throw CommandFailure(
            message: "\(program) is in no directory of the guest's PATH (\(directories)) in \(root ?? ""): "
                + "write a path to bring it from this machine",
            status: ExitStatus.notFound)
    }

    private func bring(_ path: String, to tree: inout GuestTree) throws(CommandFailure) -> String {
        guard HostFile.followed(path) != nil else {
            throw CommandFailure(message: "there is no program \(program)", status: ExitStatus.notFound)
        }
        let files = try ProgramFiles(of: path, environment: environment.values)
        try tree.bring(files, in: files.form.isScript ? .items : .program)
        try addInterpreter(of: files, to: &tree, depth: 0)
        return "/" + HostFile.names(path).joined(separator: "/")
    }

    /// What a program needs, but not itself.
    private func addNeeds(of path: String, to tree: inout GuestTree, depth: Int) throws(CommandFailure) {
        let files = try ProgramFiles(of: path, environment: environment.values)
        try tree.bring(files.withoutProgram, in: .program)
        try addInterpreter(of: files, to: &tree, depth: depth)
    }

    /// A script's interpreter: the tree's if it has it, else this machine's. Of `env`, also the program that it starts.
    private func addInterpreter(of files: ProgramFiles, to tree: inout GuestTree, depth: Int) throws(CommandFailure) {
        guard case .script(let interpreter, let argument) = files.form else { return }
        guard depth < Self.interpreterLimit else {
            throw CommandFailure(
                message:
                    "\(files.paths[0]) is a script of a script: at most \(Self.interpreterLimit) can follow each other",
                status: ExitStatus.cannotRun)
        }
        try addProgram(interpreter, neededBy: files.paths[0], to: &tree, depth: depth)
        guard HostFile.names(interpreter).last == "env", let argument else { return }
        let words = argument.split(separator: " ").drop { $0.hasPrefix("-") || $0.contains("=") }
        guard let name = words.first, !name.contains("/") else { return }
        let directories = (environment["PATH"] ?? GuestEnvironment.defaultPath).split(separator: ":")
        if directories.contains(where: { isFile("\($0)/\(name)", in: tree) }) { return }
        guard let directory = directories.first(where: { HostFile.followed("\($0)/\(name)")?.kind == .regular }) else {
            throw CommandFailure(
                message: "\(files.paths[0]) asks for \(name), which is in no directory of the guest's PATH here "
                    + "(\(directories.joined(separator: ":")))",
                status: ExitStatus.cannotRun)
        }
        try addProgram("\(directory)/\(name)", neededBy: files.paths[0], to: &tree, depth: depth)
    }

    private func addProgram(
        _ path: String, neededBy script: String, to tree: inout GuestTree, depth: Int
    ) throws(CommandFailure) {
        if isFile(path, in: tree) { return }
        guard path.hasPrefix("/"), HostFile.followed(path) != nil else {
            throw CommandFailure(
                message: "\(script) needs the interpreter \(String(reflecting: path)), which is not here",
                status: ExitStatus.cannotRun)
        }
        let files = try ProgramFiles(of: path, environment: environment.values)
        try tree.bring(files, in: .program)
        try addInterpreter(of: files, to: &tree, depth: depth + 1)
    }
}
