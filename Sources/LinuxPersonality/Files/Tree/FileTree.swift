// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Files as they came in one archive: never changed, and shared by all jobs that use it.
///
/// Contents are parts of the archive itself. A job stacks several trees and writes beside them (``OverlayTree``).
public final class FileTree: Sendable {
    /// Names the root among ``nodes``.
    static let root: UInt32 = 0

    struct Node: Sendable {
        enum Content: Sendable {
            case directory([FileName: UInt32])
            case file(FileBytes)
            case symbolicLink([UInt8])
        }

        var content: Content
        /// Permission bits.
        var mode: UInt16
        /// Seconds since 1970.
        var modified: Int64
        /// How many names it has.
        var links: UInt32 = 1
    }

    /// All of them; directories name others by their place here.
    let nodes: [Node]

    /// A tree of an archive's entries. A later entry takes the place of an earlier one of its name, and a directory adds to a
    /// directory.
    ///
    /// Names lead nowhere but into the tree: a slash at the front means nothing, and `..` goes no higher than the root. Devices and
    /// fifos are left out. All files will belong to the guest's one user, whatever owner the archive names.
    public init(archive: [UInt8]) throws(TarError) {
        var (reader, builder) = (TarReader(archive), FileTreeBuilder())
        while let entry = try reader.next() { try builder.add(entry) }
        nodes = builder.nodes
    }

    /// A tree of single files that are given by path, each with its permission bits.
    ///
    /// - Returns: nil where a path is empty, too long or leads through a file.
    public init?(files: [(path: String, content: FileBytes, mode: UInt16)]) {
        var builder = FileTreeBuilder()
        for file in files {
            let entry = TarReader.Entry(
                name: Array(file.path.utf8), kind: .file(file.content), mode: file.mode & 0o7777, modified: 0, offset: 0
            )
            do { try builder.add(entry) } catch { return nil }
        }
        nodes = builder.nodes
    }

    /// How many files, directories and links there are, the root among them.
    public var count: Int { nodes.count }

    func children(of directory: UInt32) -> [FileName: UInt32] {
        guard case .directory(let children) = nodes[Int(directory)].content else { return [:] }
        return children
    }
}
