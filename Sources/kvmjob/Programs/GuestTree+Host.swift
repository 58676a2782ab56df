// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension GuestTree {
    /// Takes a directory of this machine as it is, with all that is in it. A link stays a link, so nothing outside is read; what a
    /// guest could not use (devices, sockets, pipes) is left out with a warning. Blocks.
    ///
    /// - Parameters:
    ///   - path: may be a link, which is followed, since somebody asked for it by name.
    ///   - isWanted: whether a name, in whichever directory, is taken.
    /// - Throws: ``CommandFailure`` if it is no directory, or cannot be read.
    mutating func walk(
        _ path: String, to place: GuestPath, in layer: Layer, isWanted: (String) -> Bool = { _ in true }
    ) throws(CommandFailure) {
        guard let top = HostFile.followed(path), top.kind == .directory else {
            throw CommandFailure(message: "\(path) is no directory", status: ExitStatus.cannotRun)
        }
        var pending = [(top, place)]
        while let (directory, place) = pending.popLast() {
            try add(.directory(mode: directory.mode), at: place, in: layer)
            let list = try list(directory.path)
            progress?.enter(directory.path, entries: list.count)
            for name in list where isWanted(name) {
                let next = place.appending(Array(name.utf8))
                guard let file = HostFile(at: "\(directory.path)/\(name)") else {
                    warn("\(directory.path)/\(name) is left out: it is gone, or its name is no UTF-8")
                    continue
                }
                if file.kind == .directory { pending.append((file, next)) } else { try take(file, to: next, in: layer) }
            }
        }
    }

    private func list(_ path: String) throws(CommandFailure) -> [String] {
        do {
            return try HostFile.list(path)
        } catch {
            throw CommandFailure(message: "cannot read \(path): \(error.text)", status: ExitStatus.cannotRun)
        }
    }

    private mutating func take(_ file: HostFile, to place: GuestPath, in layer: Layer) throws(CommandFailure) {
        switch file.kind {
        case .regular: try add(.file(.host(path: file.path), mode: file.mode), at: place, in: layer)
        case .link(let target): try add(.link(target: Array(target.utf8)), at: place, in: layer)
        case .special(let what): warn("\(file.path) is left out: it is \(what)")
        case .directory: try add(.directory(mode: file.mode), at: place, in: layer)
        }
    }

    /// Puts one file or directory of this machine at a place of its own. Blocks.
    ///
    /// - Throws: ``CommandFailure`` if it is not there, or nothing that a guest could use.
    mutating func put(_ path: String, at place: GuestPath, in layer: Layer) throws(CommandFailure) {
        guard let file = HostFile.followed(path) else { throw Self.missing(path) }
        switch file.kind {
        case .directory: try walk(path, to: place, in: layer)
        case .regular: try add(.file(.host(path: file.path), mode: file.mode), at: place, in: layer)
        case .link, .special:
            throw CommandFailure(message: "\(path) is no file and no directory", status: ExitStatus.cannotRun)
        }
    }

    /// Puts a file or directory of this machine at its own path, together with the links on the way to it, so that a guest finds it
    /// by every name by which it is found here. Where the tree has other entries on that way, they stay, and the file is put at
    /// the path that was asked for. Blocks.
    mutating func bring(_ path: String, in layer: Layer) throws(CommandFailure) {
        let path = HostFile.absolute(path)
        guard let file = HostFile.followed(path) else { throw Self.missing(path) }
        var (pending, here, links) = (Array(HostFile.names(path).reversed()), "", 0)
        while let name = pending.popLast() {
            if name == ".." {
                try keep(here, in: layer)
                here = HostFile.parent(here)
                continue
            }
            guard let next = HostFile(at: "\(here)/\(name)") else { throw Self.missing(path) }
            guard try step(next, in: layer) else {
                return try put(path, at: GuestPath(path), in: layer)
            }
            guard case .link(let target) = next.kind else {
                here = next.path
                continue
            }
            links += 1
            guard links <= HostFile.linkLimit else { throw Self.missing(path) }
            if target.hasPrefix("/") { here = "" }
            pending += HostFile.names(target).reversed()
        }
        if file.kind == .directory { try walk(file.path, to: GuestPath(file.path), in: layer) }
    }

    /// A guest can go back out of a directory only if it is there, even with nothing in it.
    private mutating func keep(_ directory: String, in layer: Layer) throws(CommandFailure) {
        guard node(at: GuestPath(directory)) == nil, let file = HostFile(at: directory) else { return }
        try add(.directory(mode: file.mode), at: GuestPath(directory), in: layer)
    }

    /// Makes the tree have an entry as this machine has it; false if it has another one there.
    private mutating func step(_ file: HostFile, in layer: Layer) throws(CommandFailure) -> Bool {
        let place = GuestPath(file.path)
        let there = node(at: place)
        switch (file.kind, there) {
        case (.directory, nil), (.directory, .directory): return true
        case (.directory, _): return false
        case (.link(let target), .link(let other)): return Array(target.utf8) == other
        case (.link(let target), nil): try add(.link(target: Array(target.utf8)), at: place, in: layer)
        case (.link, _): return false
        case (.regular, .directory), (.regular, .link): return false
        case (.regular, _): try add(.file(.host(path: file.path), mode: file.mode), at: place, in: layer)
        case (.special, _):
            throw CommandFailure(message: "\(file.path) is no file and no directory", status: ExitStatus.cannotRun)
        }
        return true
    }

    private static func missing(_ path: String) -> CommandFailure {
        CommandFailure(message: "there is no \(path)", status: ExitStatus.cannotRun)
    }
}
