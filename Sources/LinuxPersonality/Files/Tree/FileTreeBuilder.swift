// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Makes the nodes of a ``FileTree`` out of entries, one after the other.
struct FileTreeBuilder {
    private let entryLimit: Int
    private(set) var nodes = [FileTree.Node(content: .directory([:]), mode: 0o755, modified: 0)]

    /// - Parameter entryLimit: the most nodes, the root among them.
    init(entryLimit: Int = FileTreeLimits.entries) { self.entryLimit = entryLimit }

    mutating func add(_ entry: TarReader.Entry) throws(TarError) {
        do throws(TarReason) {
            try place(entry)
        } catch {
            throw TarError(reason: error.reason, offset: entry.offset)
        }
    }

    private mutating func place(_ entry: TarReader.Entry) throws(TarReason) {
        if case .special = entry.kind { return }
        let parts = try Self.parts(of: entry.name)
        guard let name = parts.last else {
            guard case .directory = entry.kind else { throw TarReason(.name) }
            nodes[Int(FileTree.root)].mode = entry.mode
            nodes[Int(FileTree.root)].modified = entry.modified
            return
        }
        let parent = try directory(parts.dropLast())
        switch entry.kind {
        case .directory: try placeDirectory(name, in: parent, entry)
        case .file(let bytes): try placeNew(.file(bytes), name, in: parent, entry)
        case .symbolicLink(let target):
            guard (1...FileTreeLimits.linkBytes).contains(target.count), !target.contains(0) else {
                throw TarReason(.link)
            }
            try placeNew(.symbolicLink(target), name, in: parent, entry)
        case .hardLink(let target): try placeLink(to: target, name, in: parent)
        case .special: break
        }
    }

    /// The parts of a name that leads from the root into the tree and never out of it.
    static func parts(of name: [UInt8]) throws(TarReason) -> [FileName] {
        guard !name.isEmpty, !name.contains(0) else { throw TarReason(.name) }
        guard name.count <= FileTreeLimits.pathBytes else { throw TarReason(.pathTooLong) }
        var parts: [FileName] = []
        for part in name.split(separator: UInt8(ascii: "/")) {
            guard part.count <= FileName.maximumBytes else { throw TarReason(.name) }
            switch Array(part) {
            case [UInt8(ascii: ".")]: continue
            case [UInt8(ascii: "."), UInt8(ascii: ".")]: _ = parts.popLast()
            default: parts.append(FileName(part))
            }
            guard parts.count <= FileTreeLimits.depth else { throw TarReason(.tooDeep) }
        }
        return parts
    }

    /// The directory there, made with the usual rights where an archive only implies it.
    private mutating func directory(_ parts: ArraySlice<FileName>) throws(TarReason) -> UInt32 {
        var current = FileTree.root
        for part in parts {
            if let child = child(part, of: current) {
                guard case .directory = nodes[Int(child)].content else { throw TarReason(.notADirectory) }
                current = child
            } else {
                let new = try append(FileTree.Node(content: .directory([:]), mode: 0o755, modified: 0))
                setChild(new, part, of: current)
                current = new
            }
        }
        return current
    }

    private mutating func placeDirectory(
        _ name: FileName, in parent: UInt32, _ entry: TarReader.Entry
    ) throws(TarReason) {
        if let there = child(name, of: parent), case .directory = nodes[Int(there)].content {
            nodes[Int(there)].mode = entry.mode
            nodes[Int(there)].modified = entry.modified
        } else {
            try placeNew(.directory([:]), name, in: parent, entry)
        }
    }

    private mutating func placeNew(
        _ content: FileTree.Node.Content, _ name: FileName, in parent: UInt32, _ entry: TarReader.Entry
    ) throws(TarReason) {
        let new = try append(FileTree.Node(content: content, mode: entry.mode, modified: entry.modified))
        replaceChild(new, name, of: parent)
    }

    private mutating func placeLink(to target: [UInt8], _ name: FileName, in parent: UInt32) throws(TarReason) {
        var node = FileTree.root
        for part in try Self.parts(of: target) {
            guard let next = child(part, of: node) else { throw TarReason(.hardLink) }
            node = next
        }
        if case .directory = nodes[Int(node)].content { throw TarReason(.hardLink) }
        if child(name, of: parent) == node { return }
        guard nodes[Int(node)].links < entryLimit else { throw TarReason(.tooManyEntries) }
        nodes[Int(node)].links += 1
        replaceChild(node, name, of: parent)
    }

    private mutating func replaceChild(_ node: UInt32, _ name: FileName, of parent: UInt32) {
        // What was there stays among the nodes without a name; the limit on entries bounds that.
        if let old = child(name, of: parent), nodes[Int(old)].links > 0 { nodes[Int(old)].links -= 1 }
        setChild(node, name, of: parent)
    }

    private mutating func append(_ node: FileTree.Node) throws(TarReason) -> UInt32 {
        guard nodes.count < entryLimit else { throw TarReason(.tooManyEntries) }
        nodes.append(node)
        return UInt32(nodes.count - 1)
    }

    private func child(_ name: FileName, of directory: UInt32) -> UInt32? {
        guard case .directory(let children) = nodes[Int(directory)].content else { return nil }
        return children[name]
    }

    private mutating func setChild(_ node: UInt32, _ name: FileName, of directory: UInt32) {
        guard case .directory(var children) = nodes[Int(directory)].content else { return }
        // The node lets go of its children while they change, so that they are not copied.
        nodes[Int(directory)].content = .directory([:])
        children[name] = node
        nodes[Int(directory)].content = .directory(children)
    }
}
