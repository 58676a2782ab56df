// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Making, removing and moving names. The order of the checks, and so of the errors, is the kernel's (`fs/namei.c`).
extension OverlayTree {
    /// The place for a new name: `filename_create` and `may_create`.
    ///
    /// - Parameter directory: whether it is for a directory, so that a slash may follow.
    func vacancy(_ end: PathEnd, forDirectory directory: Bool = false) throws(Errno) -> FileName {
        guard let name = end.name else { throw .eexist }
        guard end.target == nil else { throw .eexist }
        guard directory || !end.wantsDirectory else { throw .enoent }
        try demandAlive(end.parent)
        try demand([.write, .execute], end.parent)
        return name
    }

    func demandAlive(_ directory: InodeNumber) throws(Errno) {
        guard attributes(directory).links > 0 else { throw .enoent }
        if case .descriptors = self[directory].body { throw .eacces }
    }

    /// Makes a file with a name.
    mutating func create(
        _ inode: Inode, _ name: FileName, in parent: InodeNumber, bytes: Int = 0, at time: FileTime
    ) throws(Errno) -> InodeNumber {
        let number = try make(inode, bytes: bytes)
        do {
            try setEntry(name, number, in: parent, at: time)
        } catch {
            dropName(of: number, at: time)
            throw error
        }
        if inode.attributes.type == .directory {
            place(number, name, in: parent)
            countDirectories(1, in: parent)
        }
        return number
    }

    /// One name less; without any, and not open, the file is gone.
    private mutating func dropName(of number: InodeNumber, at time: FileTime) {
        // A layer's file that nobody changed needs an inode to say that it has a name less: only while there is room for one.
        _ = try? change(number) { inode in
            inode.attributes.links = inode.attributes.type == .directory ? 0 : inode.attributes.links - 1
            inode.attributes.changed = time
        }
        collect(number)
    }

    /// Whether a name may be taken away: `may_delete`.
    private func demandRemovable(
        _ victim: InodeNumber, from parent: InodeNumber, asDirectory: Bool
    ) throws(Errno) {
        try demand([.write, .execute], parent)
        let (victimIs, parentIs) = (attributes(victim), attributes(parent))
        if parentIs.mode & 0o1000 != 0, !parentIs.isOwned, !victimIs.isOwned { throw .eperm }
        if asDirectory {
            guard victimIs.type == .directory else { throw .enotdir }
            guard victim != .root else { throw .ebusy }
        } else if victimIs.type == .directory {
            throw .eisdir
        }
        guard parentIs.links > 0 else { throw .enoent }
    }

    private func inode(_ end: PathEnd) throws(Errno) -> InodeNumber {
        switch end.target {
        case .inode(let number): return number
        case .descriptor: throw .eperm
        case nil: throw .enoent
        }
    }

    mutating func unlink(_ end: PathEnd, at time: FileTime) throws(Errno) {
        guard let name = end.name else { throw .eisdir }
        let victim = try inode(end)
        if end.wantsDirectory { throw isDirectory(victim) ? .eisdir : .enotdir }
        try demandRemovable(victim, from: end.parent, asDirectory: false)
        try setEntry(name, nil, in: end.parent, at: time)
        dropName(of: victim, at: time)
    }

    mutating func removeDirectory(_ end: PathEnd, at time: FileTime) throws(Errno) {
        switch end.last {
        case .dot: throw .einval
        case .dotDot: throw .enotempty
        case .root: throw .ebusy
        case .name(let name):
            let victim = try inode(end)
            try demandRemovable(victim, from: end.parent, asDirectory: true)
            guard isEmpty(victim) else { throw .enotempty }
            try setEntry(name, nil, in: end.parent, at: time)
            countDirectories(-1, in: end.parent)
            dropName(of: victim, at: time)
        }
    }

    mutating func link(_ number: InodeNumber, to end: PathEnd, at time: FileTime, revives: Bool) throws(Errno) {
        let name = try vacancy(end)
        let old = attributes(number)
        guard old.type != .directory else { throw .eperm }
        guard old.links > 0 || revives else { throw .enoent }
        guard old.links < limits.links else { throw .emlink }
        try change(number) { inode in
            inode.attributes.links += 1
            inode.attributes.changed = time
        }
        do {
            try setEntry(name, number, in: end.parent, at: time)
        } catch {
            dropName(of: number, at: time)
            throw error
        }
    }

    /// `renameat2`.
    struct Renaming: OptionSet {
        let rawValue: UInt32

        static let noReplace = Renaming(rawValue: 1)
        static let exchange = Renaming(rawValue: 2)
    }

    mutating func rename(_ old: PathEnd, to new: PathEnd, _ flags: Renaming, at time: FileTime) throws(Errno) {
        guard let oldName = old.name else { throw .ebusy }
        guard let newName = new.name else { throw flags.contains(.noReplace) ? .eexist : .ebusy }
        let source = try inode(old)
        if flags.contains(.noReplace), new.target != nil { throw .eexist }
        let target = new.target == nil ? nil : try inode(new)
        try demandShapes(source, target, old, new, flags)
        if source == target { return }
        try demandRights(source, target, old, new, flags)
        if flags.contains(.exchange), let target {
            try exchange((source, old.parent, oldName), (target, new.parent, newName), at: time)
            return
        }
        if let target, isDirectory(target), !isEmpty(target) { throw .enotempty }
        try setEntry(newName, source, in: new.parent, at: time, freeing: Self.bytes(of: oldName))
        do {
            try setEntry(oldName, nil, in: old.parent, at: time)
        } catch {
            // The name that is to go hides a layer's, and there is no room for saying so.
            try setEntry(newName, target, in: new.parent, at: time)
            throw error
        }
        if let target {
            if isDirectory(target) { countDirectories(-1, in: new.parent) }
            dropName(of: target, at: time)
        }
        move(source, newName, from: old.parent, to: new.parent)
        _ = try? change(source) { $0.attributes.changed = time }
    }

    private mutating func move(
        _ number: InodeNumber, _ name: FileName, from old: InodeNumber, to new: InodeNumber
    ) {
        guard isDirectory(number) else { return }
        place(number, name, in: new)
        countDirectories(-1, in: old)
        countDirectories(1, in: new)
    }

    private typealias Named = (number: InodeNumber, parent: InodeNumber, name: FileName)

    private mutating func exchange(_ one: Named, _ other: Named, at time: FileTime) throws(Errno) {
        try setEntry(other.name, one.number, in: other.parent, at: time)
        do {
            try setEntry(one.name, other.number, in: one.parent, at: time)
        } catch {
            try setEntry(other.name, other.number, in: other.parent, at: time)
            throw error
        }
        move(one.number, other.name, from: one.parent, to: other.parent)
        move(other.number, one.name, from: other.parent, to: one.parent)
    }

    /// What `do_renameat2` checks before it asks for rights.
    private func demandShapes(
        _ source: InodeNumber, _ target: InodeNumber?, _ old: PathEnd, _ new: PathEnd, _ flags: Renaming
    ) throws(Errno) {
        let isDirectory = isDirectory(source)
        if flags.contains(.exchange) {
            guard let target else { throw .enoent }
            if !self.isDirectory(target), new.wantsDirectory { throw .enotdir }
        }
        if !isDirectory {
            if old.wantsDirectory || (!flags.contains(.exchange) && new.wantsDirectory) { throw .enotdir }
        }
        guard old.parent != new.parent else { return }
        if isDirectory, lies(new.parent, in: source) { throw .einval }
        if let target, self.isDirectory(target), lies(old.parent, in: target) {
            throw flags.contains(.exchange) ? .einval : .enotempty
        }
    }

    /// What `vfs_rename` checks.
    private func demandRights(
        _ source: InodeNumber, _ target: InodeNumber?, _ old: PathEnd, _ new: PathEnd, _ flags: Renaming
    ) throws(Errno) {
        let isDirectory = isDirectory(source)
        try demandRemovable(source, from: old.parent, asDirectory: isDirectory)
        if let target {
            let targetIs = self.isDirectory(target)
            try demandRemovable(
                target, from: new.parent, asDirectory: flags.contains(.exchange) ? targetIs : isDirectory)
        } else {
            try demandAlive(new.parent)
            try demand([.write, .execute], new.parent)
        }
        guard old.parent != new.parent else { return }
        if isDirectory { try demand(.write, source) }
        if flags.contains(.exchange), let target, self.isDirectory(target) { try demand(.write, target) }
    }
}
