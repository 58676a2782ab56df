// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Which program is meant, and what it needs to start.
extension ProgramRequest {
    /// Finds the program by the rules of ``ProgramRequest``, and brings what is not there yet.
    ///
    /// - Returns: its path in the guest.
    func addProgram(to tree: inout GuestTree) throws(CommandFailure) -> String {
        if program.hasPrefix("/"), isFile(program, in: tree) {
            // An item's program was brought by content; what it needs is looked for as if it were called where it is.
            if case .file(.host(let path), _) = tree.followed(GuestPath(program))?.node, root == nil || isItem(tree) {
                try addNeeds(of: path, to: &tree, depth: 0)
            }
            return program
        }
        if program.contains("/") {
            return try bring(HostFile.absolute(program, from: directory), to: &tree)
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
