// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// All that a process has of files: its tree, its descriptors, and where it stands.
struct ProcessFiles: Sendable {
    /// The guest's user and group; all files are theirs.
    static let user: UInt32 = 1000

    var tree: OverlayTree
    var table = DescriptorTable()
    var workingDirectory = InodeNumber.root
    var mask: UInt16 = 0o022
    var open: [OpenFileNumber: OpenFile] = [:]
    var pipes: [ObjectNumber: Pipe] = [:]
    var counters: [ObjectNumber: EventCounter] = [:]
    var timers: [ObjectNumber: DescriptorTimer] = [:]
    var epolls: [ObjectNumber: InterestList] = [:]
    /// How often something changed about an object: what edges are told by.
    var changes: [ObjectNumber: UInt64] = [:]
    /// What calls brought about since ``takeRaised()``; threads that wait for it are to be served again.
    private(set) var raised: Set<WaitEvent> = []
    private var nextFile: UInt64 = 1
    private var nextObject: UInt64 = 1

    /// Descriptors 0, 1 and 2 are the standard streams.
    init(tree: OverlayTree = OverlayTree()) {
        self.tree = tree
        let streams: [(OpenFile.Kind, OpenFlags)] = [
            (.standardInput, []), (.output(.standardOutput), .writeOnly), (.output(.standardError), .writeOnly),
        ]
        for (number, stream) in streams.enumerated() {
            let file = addFile(OpenFile(kind: stream.0, flags: stream.1, references: 1))
            table[Int32(number)] = Descriptor(file: file, isClosedOnExec: false)
        }
        self.tree.retain(.root)
    }

    /// What waiting threads may be woken for.
    mutating func takeRaised() -> Set<WaitEvent> {
        defer { raised = [] }
        return raised
    }

    /// Notes that something changed about an object.
    mutating func raise(_ object: ObjectNumber) {
        raised.insert(.object(object))
        changes[object, default: 0] += 1
    }

    mutating func newObject() -> ObjectNumber {
        defer { nextObject += 1 }
        return ObjectNumber(value: nextObject)
    }

    private mutating func addFile(_ file: OpenFile) -> OpenFileNumber {
        defer { nextFile += 1 }
        let number = OpenFileNumber(value: nextFile)
        open[number] = file
        if let inode = file.inode { tree.retain(inode) }
        return number
    }

    // MARK: Descriptors

    /// The open file behind a descriptor.
    func number(_ descriptor: Int32) throws(Errno) -> OpenFileNumber {
        guard let slot = table[descriptor] else { throw .ebadf }
        return slot.file
    }

    func file(_ descriptor: Int32) throws(Errno) -> OpenFile {
        guard let file = open[try number(descriptor)] else { throw .ebadf }
        return file
    }

    /// One that can do more than name a place: not opened with `O_PATH`.
    func usableFile(_ descriptor: Int32) throws(Errno) -> OpenFile {
        let file = try file(descriptor)
        guard !file.isPath else { throw .ebadf }
        return file
    }

    /// A descriptor for a newly opened file, the lowest free one.
    mutating func add(_ file: OpenFile, closeOnExec: Bool) throws(Errno) -> Int32 {
        let descriptor = try table.free()
        var file = file
        file.references = 1
        table[descriptor] = Descriptor(file: addFile(file), isClosedOnExec: closeOnExec)
        return descriptor
    }

    /// Another descriptor for the same open file.
    mutating func duplicate(_ descriptor: Int32, to other: Int32, closeOnExec: Bool) throws(Errno) {
        let number = try number(descriptor)
        open[number]?.references += 1
        if table[other] != nil { try close(other) }
        table[other] = Descriptor(file: number, isClosedOnExec: closeOnExec)
    }

    mutating func close(_ descriptor: Int32) throws(Errno) {
        let number = try number(descriptor)
        table[descriptor] = nil
        open[number]?.references -= 1
        guard let file = open[number], file.references <= 0 else { return }
        open[number] = nil
        for epoll in file.watchers { forget(number, epoll) }
        if let inode = file.inode { tree.release(inode) }
        switch file.kind {
        case .pipeReader(let object):
            pipes[object]?.readers -= 1
            closeEnd(object)
        case .pipeWriter(let object):
            pipes[object]?.writers -= 1
            closeEnd(object)
        case .socket(let end): closeSocket(end)
        case .eventCounter(let object):
            counters[object] = nil
            changes[object] = nil
        case .timer(let object):
            timers[object] = nil
            changes[object] = nil
        case .epoll(let object):
            for key in epolls[object]?.order ?? [] { open[key.file]?.watchers.remove(object) }
            epolls[object] = nil
            changes[object] = nil
        default: break
        }
    }

    mutating func closeSocket(_ end: SocketEnd) {
        if let unread = pipes[end.incoming], unread.count > 0 { pipes[end.outgoing]?.isReset = true }
        pipes[end.incoming]?.readers -= 1
        pipes[end.outgoing]?.writers -= 1
        closeEnd(end.incoming)
        closeEnd(end.outgoing)
    }

    /// Whether the other end was closed before it had read all, which is told once.
    mutating func takeReset(of end: SocketEnd) -> Bool {
        defer { pipes[end.incoming]?.isReset = false }
        return pipes[end.incoming]?.isReset ?? false
    }

    private mutating func closeEnd(_ object: ObjectNumber) {
        raise(object)
        guard let pipe = pipes[object], pipe.readers <= 0, pipe.writers <= 0 else { return }
        pipes[object] = nil
        changes[object] = nil
    }

    /// Takes a descriptor out of an `epoll`, which may watch its file by another one too.
    mutating func forget(_ key: InterestList.Key, _ epoll: ObjectNumber) {
        epolls[epoll]?.order.removeAll { $0 == key }
        epolls[epoll]?.interests[key] = nil
        let isWatched = epolls[epoll]?.order.contains { $0.file == key.file } ?? false
        if !isWatched { open[key.file]?.watchers.remove(epoll) }
    }

    /// Takes an open file out of an `epoll` that watches it.
    private mutating func forget(_ file: OpenFileNumber, _ epoll: ObjectNumber) {
        guard let order = epolls[epoll]?.order else { return }
        for key in order where key.file == file { epolls[epoll]?.interests[key] = nil }
        epolls[epoll]?.order.removeAll { $0.file == file }
    }

    // MARK: Paths

    /// The directory that a relative path begins at.
    func start(_ directory: Int32, _ path: [UInt8]) throws(Errno) -> InodeNumber {
        if path.first == UInt8(ascii: "/") || directory == Self.currentDirectory { return workingDirectory }
        let file = try file(directory)
        guard let inode = file.inode, tree.isDirectory(inode) else { throw .enotdir }
        return inode
    }

    /// `AT_FDCWD`.
    static let currentDirectory: Int32 = -100

    /// The inode that is behind the end of a path.
    func existing(_ end: PathEnd) throws(Errno) -> PathEnd.Target {
        guard let target = end.target else { throw .enoent }
        if end.wantsDirectory {
            guard case .inode(let number) = target, tree.isDirectory(number) else { throw .enotdir }
        }
        if case .descriptor(let descriptor) = target { _ = try fileThroughProc(descriptor) }
        return target
    }

    /// The path that an open file was found by, as far as its directory is still there.
    func path(of file: OpenFile) -> [UInt8]? {
        if let number = file.inode, tree.isDirectory(number) { return tree.path(of: number) }
        guard let place = file.place else { return nil }
        return tree.path(of: place.name, in: place.parent)
    }

    /// The open file behind an entry of `/proc/self/fd`; one that is not there has no entry.
    func fileThroughProc(_ descriptor: Int32) throws(Errno) -> OpenFile {
        guard let slot = table[descriptor], let file = open[slot.file] else { throw .enoent }
        return file
    }
}
