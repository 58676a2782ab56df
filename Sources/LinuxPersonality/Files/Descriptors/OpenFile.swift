// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What descriptors share that were made of one another by `dup`: the kernel's open file description.
struct OpenFile: Sendable {
    enum Kind: Sendable, Hashable {
        case file(InodeNumber)
        case directory(InodeNumber)
        case device(Device, InodeNumber)
        /// Opened with `O_PATH`: a place, not a file to be read.
        case path(InodeNumber)
        case standardInput
        case output(OutputStream)
        case pipeReader(ObjectNumber)
        case pipeWriter(ObjectNumber)
        case eventCounter(ObjectNumber)
        case timer(ObjectNumber)
        case epoll(ObjectNumber)
        case socket(SocketEnd)
        /// A file of `/proc` that is made as it is read.
        case report(ProcessReport, InodeNumber)
    }

    var kind: Kind
    /// The access mode and the flags that last.
    var flags: OpenFlags
    /// Where the next read or write goes; in a directory, a place in `listing`.
    var offset = 0
    /// How many descriptors refer to it.
    var references = 0
    /// The `epoll`s that watch it.
    var watchers: Set<ObjectNumber> = []
    /// Where it was found, for `/proc/self/fd`.
    var place: Place?
    /// The names of a directory as they were when it was first read from its beginning.
    var listing: [FileName]?
    /// A report as it was when it was last read from its beginning.
    var report: [UInt8]?

    struct Place: Sendable {
        var parent: InodeNumber
        var name: FileName
    }

    /// The inode that it keeps alive.
    var inode: InodeNumber? {
        switch kind {
        case .file(let number), .directory(let number), .path(let number), .device(_, let number),
            .report(_, let number):
            number
        default: nil
        }
    }

    var isPath: Bool {
        if case .path = kind { return true }
        return false
    }
}

/// A descriptor: a number that the guest has for an open file.
struct Descriptor: Sendable {
    var file: OpenFileNumber
    var isClosedOnExec: Bool
}

/// Names an ``OpenFile`` as long as the process lives.
struct OpenFileNumber: Hashable, Sendable {
    var value: UInt64
}
