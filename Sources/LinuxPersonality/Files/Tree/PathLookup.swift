// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Where a path leads.
struct PathEnd: Sendable {
    /// What is there, if anything.
    var target: Target?
    /// The directory that the last name is looked up in.
    var parent: InodeNumber
    /// The last part of the path.
    var last: Last
    /// Whether a slash follows the last name, so that only a directory will do.
    var wantsDirectory: Bool

    enum Target: Sendable, Hashable {
        case inode(InodeNumber)
        /// What a descriptor refers to, by way of `/proc/self/fd`; it may be something that no path leads to.
        case descriptor(Int32)
    }

    enum Last: Sendable, Hashable {
        case name(FileName)
        case dot, dotDot, root
    }

    /// The last name, for calls that make or remove it.
    var name: FileName? {
        guard case .name(let name) = last else { return nil }
        return name
    }
}

extension PathEnd {
    /// The longest path that Linux takes, with its NUL: `PATH_MAX`.
    static let maximumBytes = 4096
    /// How many symbolic links may be followed on one way: `MAXSYMLINKS`.
    static let maximumLinks = 40
}

/// One walk along a path, as `path_lookupat` does it.
private struct PathWalk {
    var current: InodeNumber
    /// What is still to be walked: the innermost symbolic link's target last.
    var pending: [ArraySlice<UInt8>]
    var links = 0
    var wantsDirectory = false

    /// The next name, without the slashes around it; nil at the end.
    mutating func next() -> (name: ArraySlice<UInt8>, isFinal: Bool)? {
        while let top = pending.popLast() {
            let rest = top.drop { $0 == UInt8(ascii: "/") }
            if rest.isEmpty { continue }
            let name = rest.prefix { $0 != UInt8(ascii: "/") }
            let behind = rest[name.endIndex...]
            let isLastHere = behind.allSatisfy { $0 == UInt8(ascii: "/") }
            if !isLastHere { pending.append(behind) }
            let isFinal = pending.allSatisfy { $0.allSatisfy { $0 == UInt8(ascii: "/") } }
            if isFinal, !behind.isEmpty || !pending.isEmpty { wantsDirectory = true }
            return (name, isFinal)
        }
        return nil
    }

    /// Goes on with a link's target.
    mutating func follow(_ target: [UInt8]) throws(Errno) {
        links += 1
        guard links <= PathEnd.maximumLinks else { throw .eloop }
        if target.first == UInt8(ascii: "/") { current = .root }
        pending.append(target[...])
    }
}

extension OverlayTree {
    /// Walks a path from a directory. Nothing leads out of the tree: `..` of the root is the root.
    ///
    /// - Parameter follows: whether a symbolic link at the path's end is followed.
    /// - Parameter followsBeforeSlash: whether one with a slash behind it is; not for calls that make or remove the name.
    mutating func find(
        _ path: [UInt8], from start: InodeNumber, follows: Bool, followsBeforeSlash: Bool = true
    ) throws(Errno) -> PathEnd {
        guard !path.isEmpty else { throw .enoent }
        guard path.count < PathEnd.maximumBytes else { throw .enametoolong }
        var walk = PathWalk(current: path.first == UInt8(ascii: "/") ? .root : start, pending: [path[...]])
        var end = PathEnd(target: nil, parent: walk.current, last: .root, wantsDirectory: false)
        while let (bytes, isFinal) = walk.next() {
            guard isDirectory(walk.current) else { throw .enotdir }
            guard allows(.execute, walk.current) else { throw .eacces }
            end.parent = walk.current
            if bytes.elementsEqual([UInt8(ascii: ".")]) {
                end.last = .dot
                continue
            }
            if bytes.elementsEqual([UInt8(ascii: "."), UInt8(ascii: ".")]) {
                end.last = .dotDot
                walk.current = parent(of: walk.current)
                continue
            }
            end.last = .name(FileName(bytes))
            guard
                let target = try step(
                    FileName(bytes), isFinal, walk.wantsDirectory ? followsBeforeSlash : follows, &walk)
            else { continue }
            switch target {
            case .ended(let found):
                end.target = found
                end.wantsDirectory = walk.wantsDirectory
                return end
            case .at(let number): walk.current = number
            }
        }
        // A path that ends in a link to "/" or in dots.
        end.target = .inode(walk.current)
        end.wantsDirectory = walk.wantsDirectory
        if case .name = end.last, walk.current == .root { end.last = .root }
        return end
    }

    private enum Step {
        case at(InodeNumber)
        case ended(PathEnd.Target?)
    }

    /// Takes one name; nil when the walk goes on with a link's target.
    private mutating func step(
        _ name: FileName, _ isFinal: Bool, _ follows: Bool, _ walk: inout PathWalk
    ) throws(Errno) -> Step? {
        guard name.bytes.count <= FileName.maximumBytes else { throw .enametoolong }
        if case .descriptors = self[walk.current].body {
            guard let number = Self.descriptor(name) else { throw .enoent }
            // Linux goes on from a descriptor that is a directory; nothing is known of descriptors here.
            guard isFinal else { throw .enotdir }
            return .ended(.descriptor(number))
        }
        guard let number = child(name, of: walk.current) else {
            if isFinal { return .ended(nil) }
            throw .enoent
        }
        switch self[number].body {
        case .symbolicLink(let target) where !isFinal || follows:
            try walk.follow(target)
            return nil
        case .place(let directory) where !isFinal || follows:
            return isFinal ? .ended(.inode(directory)) : .at(directory)
        default: break
        }
        if isFinal { return .ended(.inode(number)) }
        return .at(number)
    }

    /// The number that a name in `/proc/self/fd` stands for.
    private static func descriptor(_ name: FileName) -> Int32? {
        guard name.bytes.count <= 9, name.bytes.allSatisfy({ (48...57).contains($0) }),
            name.bytes.count == 1 || name.bytes.first != 48
        else { return nil }
        return name.bytes.reduce(0) { $0 * 10 + Int32($1 - 48) }
    }
}

/// What a caller may want to do with a file; the numbers of `access`.
struct FileAccess: OptionSet, Sendable {
    let rawValue: UInt16

    static let execute = FileAccess(rawValue: 1)
    static let write = FileAccess(rawValue: 2)
    static let read = FileAccess(rawValue: 4)
}

extension OverlayTree {
    /// Whether a file's mode lets the guest's user do this: the owner's bits for its own files, else those of others.
    func allows(_ access: FileAccess, _ number: InodeNumber) -> Bool {
        let attributes = attributes(number)
        let bits = attributes.isOwned ? attributes.mode >> 6 : attributes.mode
        return access.rawValue & ~(bits & 7) == 0
    }

    /// Like ``allows(_:_:)``, but fails as a call does.
    func demand(_ access: FileAccess, _ number: InodeNumber) throws(Errno) {
        guard allows(access, number) else { throw .eacces }
    }
}
