// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The files that a job sees: trees that it shares with others, and on top of them a scratch of its own.
///
/// A value: a copy goes its own ways. Nothing is done for files that are not touched: a directory gets an inode of the job's when a
/// path first leads through it, a file when it is first changed.
struct OverlayTree: Sendable {
    /// How much a job may write.
    struct Limits: Sendable, Hashable {
        /// Bytes of files, links' targets among them, and what files and names are charged besides.
        var bytes = 256 << 20
        /// Files that were made or changed, and, counted apart, names that were made or removed.
        var inodes = 1 << 16
        /// Names that one file may have, as ext4 has it.
        var links = 65_000
    }

    /// What each file takes of the scratch that was made or changed, beside its bytes.
    static let inodeBytes = 512

    /// What each name takes that was made. Names that were removed are as many as layers have at most.
    static func bytes(of name: FileName) -> Int { 128 + name.bytes.count }

    /// The trees, the one on top first.
    private(set) var layers: [FileTree] = []
    private(set) var limits = Limits()
    private(set) var usedBytes = 0
    private(set) var usedInodes = 0
    private(set) var usedNames = 0
    private var inodes: [InodeNumber: Inode] = [:]
    /// How many descriptors, working directories and the like keep a file alive without a name.
    private var openings: [InodeNumber: Int] = [:]
    private var nextNumber: UInt64 = 2

    /// What every tree begins with, made once.
    private static let standard = OverlayTree(standardAt: .zero)

    private init(standardAt time: FileTime) {
        inodes[.root] = Inode(attributes: FileAttributes(.directory, mode: 0o755, links: 2, at: time), body: .directory)
        openings[.root] = 1
        addStandardFiles(at: time)
    }

    /// - Parameter layers: the trees, the lowest first: a later one takes the place of an earlier one, entry by entry.
    init(layers: [FileTree] = [], limits: Limits = Limits(), at time: FileTime = .zero) {
        self = Self.standard
        self.layers = layers.reversed()
        self.limits = limits
        inodes[.root]?.directory.parts = layers.indices.map { TreePart(layer: $0, node: FileTree.root) }
        if let top = layers.last { inodes[.root]?.attributes.mode = top.nodes[0].mode }
        addOpenDirectories(at: time)
    }

    // MARK: What is there

    /// A file that a layer brought and nobody changed, as an inode.
    private func untouched(_ part: TreePart) -> Inode? {
        guard layers.indices.contains(part.layer), Int(part.node) < layers[part.layer].nodes.count else { return nil }
        let node = layers[part.layer].nodes[Int(part.node)]
        let time = FileTime(seconds: node.modified, nanoseconds: 0)
        func attributes(_ type: FileType) -> FileAttributes {
            FileAttributes(type, mode: node.mode, links: Int(node.links), at: time)
        }
        switch node.content {
        case .file(let bytes):
            return Inode(attributes: attributes(.regular), body: .regular, content: FileContent(bytes))
        case .symbolicLink(let target):
            var inode = Inode(attributes: attributes(.symbolicLink), body: .symbolicLink(target))
            inode.attributes.mode = 0o777
            return inode
        case .directory:
            var inode = Inode(attributes: attributes(.directory), body: .directory)
            inode.directory.parts = [part]
            return inode
        }
    }

    /// An inode that is there; of one that is gone, an empty file without a name.
    subscript(_ number: InodeNumber) -> Inode {
        if let inode = inodes[number] { return inode }
        if let part = number.origin, let inode = untouched(part) { return inode }
        return Inode(attributes: FileAttributes(.regular, mode: 0, links: 0, at: .zero), body: .regular)
    }

    func attributes(_ number: InodeNumber) -> FileAttributes { inodes[number]?.attributes ?? self[number].attributes }

    func isDirectory(_ number: InodeNumber) -> Bool { attributes(number).type == .directory }

    /// The size of a file; a link's is its target's, a directory's always a page.
    func size(_ number: InodeNumber) -> Int {
        let inode = self[number]
        switch inode.body {
        case .regular: return inode.content.count
        case .symbolicLink(let target): return target.count
        case .directory: return 4096
        case .device, .descriptors, .report, .place: return 0
        }
    }

    /// A piece of a regular file (``FileContent/piece(from:limit:)``).
    func piece(of number: InodeNumber, from offset: Int, limit: Int) -> ArraySlice<UInt8> {
        if let inode = inodes[number] { return inode.content.piece(from: offset, limit: limit) }
        return self[number].content.piece(from: offset, limit: limit)
    }

    /// The names that are in a directory now, in the order of their bytes: the same in every run.
    func names(in directory: InodeNumber) -> [FileName] {
        guard let entries = inodes[directory]?.directory else { return [] }
        var names: Set<FileName> = []
        for part in entries.parts {
            for name in layers[part.layer].children(of: part.node).keys where entries.entries[name] == nil {
                names.insert(name)
            }
        }
        for case (let name, .some) in entries.entries { names.insert(name) }
        return names.sorted()
    }

    func isEmpty(_ directory: InodeNumber) -> Bool {
        guard let entries = inodes[directory]?.directory else { return true }
        if entries.entries.contains(where: { $0.value != nil }) { return false }
        for part in entries.parts {
            for name in layers[part.layer].children(of: part.node).keys where entries.entries[name] == nil {
                return false
            }
        }
        return true
    }

    func parent(of directory: InodeNumber) -> InodeNumber { inodes[directory]?.directory.parent ?? .root }

    /// The path from the root, or nil for a directory that was removed, or that lies so deep that no call can name it.
    func path(of directory: InodeNumber) -> [UInt8]? {
        var (path, count, current): ([[UInt8]], Int, InodeNumber) = ([], 0, directory)
        while current != .root {
            guard let inode = inodes[current], inode.attributes.links > 0 else { return nil }
            path.append(inode.directory.name.bytes)
            count += inode.directory.name.bytes.count + 1
            guard count < PathEnd.maximumBytes else { return nil }
            current = inode.directory.parent
        }
        if path.isEmpty { return [UInt8(ascii: "/")] }
        return path.reversed().reduce(into: []) { $0 += [UInt8(ascii: "/")] + $1 }
    }

    /// The path of a name in a directory.
    func path(of name: FileName, in directory: InodeNumber) -> [UInt8]? {
        path(of: directory).map { ($0 == [UInt8(ascii: "/")] ? [] : $0) + [UInt8(ascii: "/")] + name.bytes }
    }

    /// Whether `directory` is `ancestor` or lies in it.
    func lies(_ directory: InodeNumber, in ancestor: InodeNumber) -> Bool {
        var current = directory
        while current != ancestor {
            if current == .root { return false }
            current = parent(of: current)
        }
        return true
    }

    /// What a name stands for in a directory. Takes as many steps as there are layers, however many files they have.
    mutating func child(_ name: FileName, of directory: InodeNumber) -> InodeNumber? {
        guard let entries = inodes[directory]?.directory else { return nil }
        if let entry = entries.entries[name] { return entry }
        var parts: [TreePart] = []
        for part in entries.parts {
            guard let node = layers[part.layer].children(of: part.node)[name] else { continue }
            guard case .directory = layers[part.layer].nodes[Int(node)].content else {
                // A file below a directory of the same name is hidden by it, with all that lies still deeper.
                if parts.isEmpty { return InodeNumber(layer: part.layer, node: node) }
                break
            }
            parts.append(TreePart(layer: part.layer, node: node))
        }
        guard let top = parts.first else { return nil }
        let number = InodeNumber(layer: top.layer, node: top.node)
        if inodes[number] == nil, var inode = untouched(top) {
            inode.directory = Directory(parent: directory, name: name, parts: parts)
            // As file systems say that do not count the directories inside.
            inode.attributes.links = 1
            inodes[number] = inode
        }
        return number
    }

    // MARK: What changes

    /// What is left of the scratch.
    private var freeBytes: Int { limits.bytes - usedBytes }

    /// Changes an inode in place; the first time, a layer's file becomes one of the job's.
    mutating func change<Value>(
        _ number: InodeNumber, _ body: (inout Inode) -> Value
    ) throws(Errno) -> Value {
        if inodes[number] == nil {
            guard usedInodes < limits.inodes, Self.inodeBytes <= freeBytes else { throw .enospc }
            var inode = self[number]
            inode.isCounted = true
            usedInodes += 1
            usedBytes += Self.inodeBytes
            inodes[number] = inode
        }
        guard var inode = inodes.removeValue(forKey: number) else { throw .eio }
        defer { inodes[number] = inode }
        return body(&inode)
    }

    /// A new inode without a name.
    mutating func make(_ inode: Inode, bytes: Int = 0) throws(Errno) -> InodeNumber {
        let bytes = bytes + Self.inodeBytes
        guard usedInodes < limits.inodes, bytes <= freeBytes, nextNumber < 1 << 32 else { throw .enospc }
        let number = InodeNumber(value: nextNumber)
        nextNumber += 1
        usedInodes += 1
        usedBytes += bytes
        inodes[number] = inode
        inodes[number]?.isCounted = true
        return number
    }

    /// One that the personality brings itself and that counts against nothing.
    mutating func makeStandard(_ inode: Inode) -> InodeNumber {
        let number = InodeNumber(value: nextNumber)
        nextNumber += 1
        inodes[number] = inode
        openings[number] = 1
        return number
    }

    /// Sets or (nil) removes a name in a directory.
    ///
    /// - Parameter freed: bytes that what follows will give back: a name that moves takes only what its new one is longer.
    mutating func setEntry(
        _ name: FileName, _ number: InodeNumber?, in directory: InodeNumber, at time: FileTime, freeing freed: Int = 0
    ) throws(Errno) {
        let wasThere = isCharged(name, directory)
        if number != nil, !wasThere, Self.bytes(of: name) - freed > freeBytes { throw .enospc }
        let isBeneath = isBeneath(name, directory)
        let (before, after) = (hasEntry(name, directory), number != nil || isBeneath)
        if after, !before {
            guard usedNames < limits.inodes else { throw .enospc }
            usedNames += 1
        } else if before, !after {
            usedNames = max(0, usedNames - 1)
        }
        if number != nil, !wasThere { usedBytes += Self.bytes(of: name) }
        // The personality's own names were not charged.
        if number == nil, wasThere { usedBytes = max(0, usedBytes - Self.bytes(of: name)) }
        if after {
            inodes[directory]?.directory.entries[name] = .some(number)
        } else {
            inodes[directory]?.directory.entries[name] = nil
        }
        inodes[directory]?.attributes.modified = time
        inodes[directory]?.attributes.changed = time
    }

    /// Whether a name is one of the job's own, rather than a layer's or one that is hidden.
    private func isCharged(_ name: FileName, _ directory: InodeNumber) -> Bool {
        if case .some(.some) = inodes[directory]?.directory.entries[name] { true } else { false }
    }

    /// Whether a layer has the name in a directory.
    private func isBeneath(_ name: FileName, _ directory: InodeNumber) -> Bool {
        guard let parts = inodes[directory]?.directory.parts else { return false }
        return parts.contains { layers[$0.layer].children(of: $0.node)[name] != nil }
    }

    private func hasEntry(_ name: FileName, _ directory: InodeNumber) -> Bool {
        inodes[directory]?.directory.entries[name] != nil
    }

    /// A name that counts against nothing.
    mutating func setStandardEntry(_ name: FileName, _ number: InodeNumber, in directory: InodeNumber) {
        inodes[directory]?.directory.entries[name] = .some(number)
    }

    /// Makes one of the personality's own files something else.
    mutating func setStandardBody(_ body: Inode.Body, of number: InodeNumber) { inodes[number]?.body = body }

    /// The permission bits of a directory that was gone into.
    mutating func setMode(_ mode: UInt16, of directory: InodeNumber) { inodes[directory]?.attributes.mode = mode }

    /// Tells a directory where it is now.
    mutating func place(_ directory: InodeNumber, _ name: FileName, in parent: InodeNumber) {
        inodes[directory]?.directory.parent = parent
        inodes[directory]?.directory.name = name
    }

    /// Counts directories in a directory that has none from layers; one that has says 1, as others do that do not count.
    mutating func countDirectories(_ difference: Int, in directory: InodeNumber) {
        guard inodes[directory]?.directory.parts.isEmpty == true else { return }
        inodes[directory]?.attributes.links += difference
    }

    /// Keeps a file alive while it has no name.
    mutating func retain(_ number: InodeNumber) { openings[number, default: 0] += 1 }

    /// The opposite of ``retain(_:)``.
    mutating func release(_ number: InodeNumber) {
        guard let count = openings[number] else { return }
        openings[number] = count > 1 ? count - 1 : nil
        collect(number)
    }

    /// Forgets a file that has neither names nor openings.
    mutating func collect(_ number: InodeNumber) {
        guard let inode = inodes[number], inode.attributes.links <= 0, openings[number] == nil else { return }
        if inode.isCounted { (usedInodes, usedBytes) = (usedInodes - 1, usedBytes - Self.inodeBytes) }
        usedBytes -= inode.content.chunkTotal
        if case .symbolicLink(let target) = inode.body, number.origin == nil { usedBytes -= target.count }
        inodes[number] = nil
    }

    // MARK: Contents

    /// Writes to a regular file, in place where nobody shares the chunk.
    mutating func write(_ bytes: ArraySlice<UInt8>, to number: InodeNumber, at offset: Int, time: FileTime)
        throws(Errno)
    {
        let range = offset..<offset + bytes.count
        let free = freeBytes - (inodes[number] == nil ? Self.inodeBytes : 0)
        let before = self[number].content.chunkTotal
        guard self[number].content.growth(writing: range) <= free else { throw .enospc }
        let after = try change(number) { inode in
            inode.content.write(bytes, at: offset)
            inode.attributes.modified = time
            inode.attributes.changed = time
            return inode.content.chunkTotal
        }
        usedBytes += after - before
    }

    mutating func resize(_ number: InodeNumber, to size: Int, time: FileTime) throws(Errno) {
        let before = self[number].content.chunkTotal
        let after = try change(number) { inode in
            inode.content.resize(to: size)
            inode.attributes.modified = time
            inode.attributes.changed = time
            return inode.content.chunkTotal
        }
        usedBytes += after - before
    }
}
