// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

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
}
