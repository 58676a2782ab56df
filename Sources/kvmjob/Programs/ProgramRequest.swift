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
    /// The directory that a program's relative path is from; nil for the one that this process is in.
    var directory: String?

    /// The most interpreters that scripts name one after the other: 4, as on Linux.
    static let interpreterLimit = 4

    /// Reads all files and makes the archives. Blocks for as long as that takes.
    ///
    /// - Parameters:
    ///   - limit: the most bytes of a layer.
    ///   - progress: is told which directories are read.
    /// - Throws: ``CommandFailure``.
    func submission(
        limit: UInt64 = ImageSource.byteLimit, progress: ReadingProgress? = nil
    ) throws(CommandFailure) -> ProgramSubmission {
        var tree = GuestTree()
        tree.progress = progress
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
