// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What programs expect of a file system and no archive brings.
///
/// `/dev` and `/proc` are the personality's own and hide what layers have there. `/tmp` is everybody's. `/etc/passwd` and
/// `/etc/group` name the guest's one user where no layer has them: shells and interpreters look up who they are. Of `/proc` there is
/// what C libraries and language runtimes read while they start.
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
        let proc = standardDirectory("proc", in: .root, mode: 0o555, at: time)
        let own = standardDirectory("1", in: proc, mode: 0o555, at: time)
        addLink("self", "1", to: proc, at: time)
        let descriptors = Inode(
            attributes: FileAttributes(.directory, mode: 0o500, links: 2, at: time), body: .descriptors)
        add("fd", descriptors, to: own, at: time)
        addOpenDirectories(at: time)
    }

    /// Directories that are there in any case, and with what layers put into them.
    private mutating func addOpenDirectories(at time: FileTime) {
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

    /// Puts a file there that is the personality's own, such as `/proc/cpuinfo`; it cannot be written. The directory must be there.
    mutating func addFile(_ name: String, _ bytes: [UInt8], to directory: InodeNumber, at time: FileTime) {
        let node = Inode(
            attributes: FileAttributes(.regular, mode: 0o444, at: time), body: .regular,
            content: FileContent(FileBytes(bytes)))
        add(name, node, to: directory, at: time)
    }

    /// The same, under `/proc`, or under `/proc/self` for a name that begins with `self/`.
    mutating func addProcFile(_ name: String, _ bytes: [UInt8], at time: FileTime) {
        guard let proc = child(FileName("proc"), of: .root), let own = child(FileName("1"), of: proc) else { return }
        let isOwn = name.hasPrefix("self/")
        addFile(isOwn ? String(name.dropFirst(5)) : name, bytes, to: isOwn ? own : proc, at: time)
    }

    /// `/proc/self/exe`.
    mutating func setExecutable(_ path: String, at time: FileTime) {
        guard let proc = child(FileName("proc"), of: .root), let own = child(FileName("1"), of: proc) else { return }
        addLink("exe", path, to: own, at: time)
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
