// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a job's guest will see as its files, in layers: what is above hides what is below, name by name; directories join.
///
/// | layer | what is in it |
/// |---|---|
/// | `root` | what `--root` names |
/// | `program` | the program, its interpreter and its libraries, all from this machine |
/// | `items` | what `--file` names, in the order of the command line, and a script |
///
/// In a layer the later of two entries for one path wins. Owners are not kept; of times only when a file's content was last changed,
/// which build tools and interpreters go by.
struct GuestTree: Sendable {
    enum Layer: Int, Sendable, CaseIterable { case root, program, items }

    enum Content: Sendable, Hashable {
        /// A file of this machine, read when it is needed.
        case host(path: String)
        case bytes([UInt8])
        /// It lies in the archive that is its layer.
        case archived
    }

    enum Node: Sendable, Hashable {
        /// With nil for a mode, one that is there only because something is in it.
        case directory(mode: UInt16?)
        case file(Content, mode: UInt16)
        case link(target: [UInt8])
    }

    /// The most entries of all layers together: 1,048,576.
    static let entryLimit = 1 << 20
    /// The mode of a directory that nobody gave one: 0755.
    static let impliedMode: UInt16 = 0o755

    private let entryLimit: Int
    private var layers = [[GuestPath: Node]](repeating: [:], count: Layer.allCases.count)
    /// What was left out, for people.
    private(set) var warnings: [String] = []
    /// Who wants to know how far the reading of this machine's files has got.
    var progress: ReadingProgress?

    /// A tree with nothing in it.
    init(entryLimit: Int = Self.entryLimit) { self.entryLimit = entryLimit }

    /// The entries of a layer.
    subscript(layer: Layer) -> [GuestPath: Node] { layers[layer.rawValue] }

    /// Whether a layer has anything to write.
    func hasContent(_ layer: Layer) -> Bool { !self[layer].isEmpty }

    var count: Int { layers.reduce(0) { $0 + $1.count } }

    /// Takes an entry out of a layer.
    mutating func leaveOut(_ path: GuestPath, of layer: Layer) { layers[layer.rawValue][path] = nil }

    mutating func warn(_ text: String) { warnings.append(text) }

    // MARK: Looking

    /// The entry at a path whose directories are no links; the root is a directory.
    func node(at path: GuestPath) -> Node? {
        if path == .root { return .directory(mode: nil) }
        for layer in layers.reversed() { if let node = layer[path] { return node } }
        return nil
    }

    /// Where a path leads inside the tree, through all links, and what is there; nil if that is nothing.
    func followed(_ path: GuestPath) -> (path: GuestPath, node: Node)? {
        var (pending, here, links) = (Array(path.names.reversed()), GuestPath.root, 0)
        while let name = pending.popLast() {
            if name == GuestPath.here { continue }
            if name == GuestPath.up {
                here = here.parent
                continue
            }
            guard case .directory = node(at: here) else { return nil }
            let next = here.appending(name)
            guard case .link(let target) = node(at: next) else {
                here = next
                continue
            }
            links += 1
            guard links <= HostFile.linkLimit else { return nil }
            if target.first == UInt8(ascii: "/") { here = .root }
            pending += GuestPath.names(in: target).reversed()
        }
        return node(at: here).map { (here, $0) }
    }

    // MARK: Adding

    /// Puts an entry at a path, whose directories are made where they are missing. Links to directories are followed inside the
    /// tree; a file that stands where a directory is needed gives way.
    ///
    /// - Throws: ``CommandFailure`` for links that lead nowhere else than to each other, and for a tree with too many entries.
    mutating func add(_ node: Node, at path: GuestPath, in layer: Layer) throws(CommandFailure) {
        guard let name = path.names.last else { return }
        let place = try makeDirectory(path.parent, in: layer).appending(name)
        let isDirectory = if case .directory = node { true } else { false }
        if case .directory = self.node(at: place), !isDirectory {
            layers[layer.rawValue] = layers[layer.rawValue].filter { !$0.key.isInside(place) }
        }
        try set(node, at: place, in: layer)
    }

    /// Makes what is missing of a directory, and says where it really is.
    private mutating func makeDirectory(_ path: GuestPath, in layer: Layer) throws(CommandFailure) -> GuestPath {
        var (pending, here, links) = (Array(path.names.reversed()), GuestPath.root, 0)
        while let name = pending.popLast() {
            if name == GuestPath.here { continue }
            if name == GuestPath.up {
                here = here.parent
                continue
            }
            let next = here.appending(name)
            switch node(at: next) {
            case .directory: here = next
            case .link(let target):
                links += 1
                guard links <= HostFile.linkLimit else {
                    throw CommandFailure(
                        message: "\(path.text) cannot be made in the guest's tree: its links lead to each other",
                        status: ExitStatus.cannotRun)
                }
                if target.first == UInt8(ascii: "/") { here = .root }
                pending += GuestPath.names(in: target).reversed()
            case .file, nil:
                try set(.directory(mode: nil), at: next, in: layer)
                here = next
            }
        }
        return here
    }

    private mutating func set(_ node: Node, at path: GuestPath, in layer: Layer) throws(CommandFailure) {
        layers[layer.rawValue][path] = node
        guard count <= entryLimit else {
            throw CommandFailure(
                message: "the guest's tree has more than \(entryLimit) entries: name a smaller directory",
                status: ExitStatus.cannotRun)
        }
    }
}
