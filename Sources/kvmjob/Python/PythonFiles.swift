// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import JobProtocol

/// What the guest gets of a Python installation: the interpreter, its standard library, and the shared libraries that both need.
struct PythonFiles: Sendable {
    let installation: PythonInstallation

    /// Names in the library that no script needs in a sandbox: what others installed beside it, its own tests, and what it is built or
    /// shown with.
    private static let unwanted: Set<String> = [
        "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3",
        "pydoc_data",
    ]

    /// Whether a name in the library is taken. Of compiled modules only those that an interpreter without options looks for.
    static func isWanted(_ name: String) -> Bool {
        !unwanted.contains(name) && !name.hasPrefix("config-") && !name.hasSuffix(".opt-1.pyc")
            && !name.hasSuffix(".opt-2.pyc") && !name.hasSuffix(".a")
            && !["_tkinter.", "_test", "_ctypes_test", "xx"].contains { name.hasPrefix($0) && name.hasSuffix(".so") }
    }

    /// Reads all files and makes the archives. Blocks for as long as that takes, a second and more.
    ///
    /// - Parameters:
    ///   - arguments: of the interpreter.
    ///   - limit: the most bytes of a layer.
    /// - Throws: ``CommandFailure``.
    func submission(arguments: [String], limit: UInt64) throws(CommandFailure) -> ProgramSubmission {
        var tree = GuestTree()
        for directory in installation.library {
            try tree.walk(directory, to: GuestPath(directory), in: .root, isWanted: Self.isWanted)
        }
        // A module in C is loaded as a preloaded library is, and needs what that would.
        let modules = tree[.root].keys.filter { $0.names.last?.suffix(3) == Array(".so".utf8)[...] }
        let preload = modules.map(\.text).sorted().joined(separator: ":")
        let files = try ProgramFiles(of: installation.executable, environment: ["LD_PRELOAD": preload])
        try tree.bring(files, in: .program)
        try Self.trim(&tree)
        var layers: [Image] = []
        for layer in GuestTree.Layer.allCases where tree.hasContent(layer) {
            var bytes: [UInt8] = []
            try tree.writeArchive(of: layer, limit: limit) { bytes += $0 }
            layers.append(Image(bytes))
        }
        return ProgramSubmission(
            layers: layers.map(\.hashed), program: installation.executable,
            arguments: [installation.executable] + arguments,
            environment: ["LANG=C.UTF-8", "HOME=/", "PATH=\(GuestEnvironment.defaultPath)"], warnings: tree.warnings)
    }

    /// Leaves out of executable files what no processor sees, such as what debuggers read: of some builds that is three quarters. A module
    /// that came with the library does not come again.
    private static func trim(_ tree: inout GuestTree) throws(CommandFailure) {
        for layer in [GuestTree.Layer.root, .program] {
            for (path, node) in tree[layer] {
                guard case .file(.host(let place), let mode) = node, path.text.contains(".so") else { continue }
                if layer == .program, case .file? = tree[.root][path] {
                    tree.leaveOut(path, of: layer)
                } else if let bytes = try loaded(of: place) {
                    try tree.add(.file(.bytes(bytes), mode: mode), at: path, in: layer)
                }
            }
        }
    }

    /// What of an executable file is loaded, from its beginning on; nil for what is no such file.
    private static func loaded(of path: String) throws(CommandFailure) -> [UInt8]? {
        do {
            let bytes = try HostFile.read(path, limit: ImageSource.byteLimit)
            guard let file = try? ELFFile(bytes) else { return nil }
            let end = file.segments.reduce(0) { max($0, $1.fileOffset + $1.fileBytes) }
            return Array(bytes.prefix(Int(clamping: end)))
        } catch {
            throw CommandFailure(message: "cannot read \(path): \(error.text)", status: ExitStatus.cannotRun)
        }
    }
}
