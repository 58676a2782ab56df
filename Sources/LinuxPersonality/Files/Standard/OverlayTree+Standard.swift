// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What programs expect of a file system and no archive brings.
///
/// `/dev` and `/proc` are the personality's own and hide what layers have there. `/tmp` is everybody's. `/etc/passwd` and
/// `/etc/group` name the guest's one user where no layer has them: shells and interpreters look up who they are. Of `/proc` and
/// `/sys` there is what programs, C libraries and language runtimes read of their process and their machine.
extension OverlayTree {
    mutating func addStandardFiles(at time: FileTime) {
        let dev = standardDirectory("dev", in: .root, at: time)
        for device in Device.allCases {
            let node = Inode(
                attributes: FileAttributes(.characterDevice, mode: 0o666, at: time), body: .device(device))
            add(device.name, node, to: dev, at: time)
        }
        let streams = [("stdin", "0"), ("stdout", "1"), ("stderr", "2")]
        for (name, number) in streams { addLink(name, "/proc/self/fd/\(number)", to: dev, at: time) }
        addLink("fd", "/proc/self/fd", to: dev, at: time)
        _ = standardDirectory("shm", in: dev, mode: 0o1777, at: time)
        addProcessFiles(at: time)
    }

    private mutating func addProcessFiles(at time: FileTime) {
        let proc = standardDirectory("proc", in: .root, mode: 0o555, at: time)
        let own = standardDirectory("1", in: proc, mode: 0o555, at: time)
        addLink("self", "1", to: proc, at: time)
        addLink("thread-self", "1/task/1", to: proc, at: time)
        addLink("mounts", "self/mounts", to: proc, at: time)
        let descriptors = Inode(
            attributes: FileAttributes(.directory, mode: 0o500, links: 2, at: time), body: .descriptors)
        add("fd", descriptors, to: own, at: time)
        let thread = standardDirectory(
            "1", in: standardDirectory("task", in: own, mode: 0o555, at: time), mode: 0o555, at: time)
        for name in ["exe", "cwd", "root"] { addLink(name, "/", to: own, at: time) }
        for report in ProcessReport.allCases {
            let node = Inode(
                attributes: FileAttributes(.regular, mode: 0o444, at: time), body: .report(report))
            add(report, node, at: time)
            if report.isOfThread { add(report.name, node, to: thread, at: time) }
        }
        for (path, text) in StandardFiles.texts {
            let (directory, name) = place(path, at: time)
            addFile(name, Array(text.utf8), to: directory, at: time)
        }
        setWorkingDirectory(.root)
    }

    private mutating func add(_ report: ProcessReport, _ node: Inode, at time: FileTime) {
        let (directory, name) = place(report.rawValue, at: time)
        add(name, node, to: directory, at: time)
    }

    /// The directory and the name of a path from the root, whose directories are made where they are missing.
    private mutating func place(_ path: String, at time: FileTime) -> (directory: InodeNumber, name: String) {
        var (directory, names) = (InodeNumber.root, path.split(separator: "/").map(String.init))
        let name = names.popLast() ?? ""
        for name in names {
            directory =
                child(FileName(name), of: directory)
                ?? standardDirectory(name, in: directory, mode: 0o555, at: time)
        }
        return (directory, name)
    }

    // MARK: Links of the process

    /// `/proc/self/exe`.
    mutating func setExecutable(_ path: [UInt8]) { setOwnLink("exe", .symbolicLink(path)) }

    /// `/proc/self/cwd`.
    mutating func setWorkingDirectory(_ directory: InodeNumber) { setOwnLink("cwd", .place(directory)) }

    private mutating func setOwnLink(_ name: String, _ body: Inode.Body) {
        guard let proc = child(FileName("proc"), of: .root), let own = child(FileName("1"), of: proc),
            let link = child(FileName(name), of: own)
        else { return }
        setStandardBody(body, of: link)
    }

    /// Directories that are there in any case, and with what layers put into them.
    mutating func addOpenDirectories(at time: FileTime) {
        let temporary = openDirectory("tmp", mode: 0o1777, at: time)
        setMode(0o1777, of: temporary)
        let settings = openDirectory("etc", mode: 0o755, at: time)
        let files = [
            ("passwd", "root:x:0:0:root:/:/bin/sh\nguest:x:1000:1000:guest:/:/bin/sh\n"),
            ("group", "root:x:0:\nguest:x:1000:\n"),
        ]
        for (name, text) in files where child(FileName(name), of: settings) == nil {
            addFile(name, Array(text.utf8), to: settings, at: time)
        }
    }

    /// Puts a file there that is the personality's own; it cannot be written. The directory must be there.
    private mutating func addFile(_ name: String, _ bytes: [UInt8], to directory: InodeNumber, at time: FileTime) {
        let node = Inode(
            attributes: FileAttributes(.regular, mode: 0o444, at: time), body: .regular,
            content: FileContent(FileBytes(bytes)))
        add(name, node, to: directory, at: time)
    }

    private mutating func add(_ name: String, _ inode: Inode, to directory: InodeNumber, at time: FileTime) {
        var inode = inode
        inode.attributes.isOwned = false
        let number = makeStandard(inode)
        setStandardEntry(FileName(name), number, in: directory)
        if inode.attributes.type == .directory { place(number, FileName(name), in: directory) }
    }

    private mutating func addLink(_ name: String, _ target: String, to directory: InodeNumber, at time: FileTime) {
        let attributes = FileAttributes(.symbolicLink, mode: 0o777, at: time)
        add(name, Inode(attributes: attributes, body: .symbolicLink(Array(target.utf8))), to: directory, at: time)
    }

    private mutating func standardDirectory(
        _ name: String, in parent: InodeNumber, mode: UInt16 = 0o755, at time: FileTime
    ) -> InodeNumber {
        let attributes = FileAttributes(.directory, mode: mode, links: 2, at: time)
        add(name, Inode(attributes: attributes, body: .directory), to: parent, at: time)
        return child(FileName(name), of: parent) ?? parent
    }

    private mutating func openDirectory(_ name: String, mode: UInt16, at time: FileTime) -> InodeNumber {
        if let there = child(FileName(name), of: .root), isDirectory(there) { return there }
        let attributes = FileAttributes(.directory, mode: mode, links: 2, at: time)
        let number = makeStandard(Inode(attributes: attributes, body: .directory))
        setStandardEntry(FileName(name), number, in: .root)
        place(number, FileName(name), in: .root)
        return number
    }
}
