// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Names an inode as long as the process lives; it is what `st_ino` says.
struct InodeNumber: Hashable, Sendable {
    var value: UInt64

    static let root = InodeNumber(value: 1)

    init(value: UInt64) { self.value = value }

    /// Of a file that a layer brought: its layer, from one on, in the upper half.
    init(layer: Int, node: UInt32) { value = UInt64(layer + 1) << 32 | UInt64(node) }

    /// The layer and the node in it, for one that a layer brought.
    var origin: TreePart? {
        value >> 32 == 0 || value >> 48 != 0
            ? nil : TreePart(layer: Int(value >> 32) - 1, node: UInt32(truncatingIfNeeded: value))
    }
}

/// A node of one of the trees beneath.
struct TreePart: Hashable, Sendable {
    var layer: Int
    var node: UInt32
}

/// What `stat` says of a file, but for its size and number.
struct FileAttributes: Sendable {
    var type: FileType
    /// Permission bits, with set-user-ID, set-group-ID and sticky.
    var mode: UInt16
    /// How many names it has; that of a directory counts its directories too.
    var links: Int
    var accessed: FileTime
    var modified: FileTime
    var changed: FileTime
    /// Whether it belongs to the guest's user, as all do but what the personality itself puts into the tree.
    var isOwned = true

    init(_ type: FileType, mode: UInt16, links: Int = 1, at time: FileTime) {
        (self.type, self.mode, self.links) = (type, mode, links)
        (accessed, modified, changed) = (time, time, time)
    }
}

/// A file of the job's own: made by it, or brought by a layer and changed or gone into since.
struct Inode: Sendable {
    var attributes: FileAttributes
    var body: Body
    /// Bytes of a regular file; beside `body`, so that they change in place.
    var content = FileContent()
    /// Entries of a directory; likewise.
    var directory = Directory()
    /// Whether it counts against the scratch's limit.
    var isCounted = false

    enum Body: Sendable {
        case regular
        case directory
        case symbolicLink([UInt8])
        case device(Device)
        /// `/proc/self/fd`.
        case descriptors
        /// A file that is made as it is read.
        case report(ProcessReport)
        /// A symbolic link that leads to a directory by itself, whatever that is called: `/proc/self/cwd`.
        case place(InodeNumber)
    }
}

/// The entries of a directory: its own on top of those of the layers.
struct Directory: Sendable {
    /// Where `..` leads, and its name there.
    var parent = InodeNumber.root
    var name = FileName("")
    /// The directories of the layers that lie beneath, topmost first.
    var parts: [TreePart] = []
    /// What differs from them: a name that is there, or (nil) no longer is.
    var entries: [FileName: InodeNumber?] = [:]
}

/// The devices that a guest has.
enum Device: Sendable, Hashable, CaseIterable {
    case null, zero, full, random, urandom
    /// Whoever opens it says that the program is ready: a job of which a snapshot is taken ends there. Otherwise like `null`.
    case ready

    /// The name in `/dev`.
    var name: String { self == .ready ? "kvmjob-ready" : "\(self)" }

    /// `st_rdev`: all have the major number 1.
    var number: UInt64 {
        switch self {
        case .null: 0x103
        case .zero: 0x105
        case .full: 0x107
        case .random: 0x108
        case .urandom: 0x109
        case .ready: 0x1FF
        }
    }
}
