// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A script as the user names it, with what it is to find.
struct PythonScript: Sendable {
    /// The script's path and its arguments.
    var arguments: [String]
    /// Such as "NAME=VALUE".
    var environment: [String] = []
    var items: [FileItem] = []

    /// The most bytes of the script and its files: 256 MiB. They are sent with each run.
    static let byteLimit: UInt64 = 256 << 20

    var name: String { arguments.first ?? "" }

    /// Reads the script and its files, and puts them in front of what the interpreter reads. Blocks.
    ///
    /// - Throws: ``CommandFailure``.
    func header() throws(CommandFailure) -> [UInt8] {
        var room = Self.byteLimit
        var files = [(path: name, bytes: try read(name, &room))]
        var tree = GuestTree()
        for item in items { try item.add(to: &tree) }
        for (path, node) in tree[.items].sorted(by: { $0.key < $1.key }) {
            switch node {
            case .file(.host(let place), _): files.append((path.text, try read(place, &room)))
            case .file(.bytes(let bytes), _): files.append((path.text, bytes))
            case .link:
                throw CommandFailure(
                    message: "\(path.text) is a link: name the file that it leads to", status: ExitStatus.cannotRun)
            case .directory, .file(.archived, _): break
            }
        }
        return PythonBootstrap.header(arguments: arguments, environment: environment, files: files)
    }

    private func read(_ path: String, _ room: inout UInt64) throws(CommandFailure) -> [UInt8] {
        do {
            let bytes = try HostFile.read(path, limit: room)
            room -= UInt64(bytes.count)
            return bytes
        } catch {
            throw CommandFailure(message: "cannot read \(path): \(error.text)", status: ExitStatus.cannotRun)
        }
    }
}
