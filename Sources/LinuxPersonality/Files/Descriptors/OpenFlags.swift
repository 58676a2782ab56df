// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The flags of `open`, of which some stay with the open file.
struct OpenFlags: OptionSet, Sendable, Hashable {
    var rawValue: UInt32

    static let writeOnly = OpenFlags(rawValue: 0o1)
    static let readWrite = OpenFlags(rawValue: 0o2)
    static let accessMode = OpenFlags(rawValue: 0o3)
    static let create = OpenFlags(rawValue: 0o100)
    static let exclusive = OpenFlags(rawValue: 0o200)
    static let truncate = OpenFlags(rawValue: 0o1000)
    static let append = OpenFlags(rawValue: 0o2000)
    static let nonBlocking = OpenFlags(rawValue: 0o4000)
    static let largeFile = OpenFlags(rawValue: 0o100000)
    static let directory = OpenFlags(rawValue: 0o200000)
    static let noFollow = OpenFlags(rawValue: 0o400000)
    static let closeOnExec = OpenFlags(rawValue: 0o2000000)
    static let path = OpenFlags(rawValue: 0o10000000)
    static let temporaryOnly = OpenFlags(rawValue: 0o20000000)

    /// What `F_SETFL` can change.
    static let changeable: OpenFlags = [.append, .nonBlocking, OpenFlags(rawValue: 0o1040000)]
    /// What only matters while a file is opened.
    static let momentary: OpenFlags = [.create, .exclusive, .truncate, .closeOnExec, OpenFlags(rawValue: 0o400)]

    /// The rights that the access mode asks for; mode 3 asks for both and gives neither.
    var asked: FileAccess {
        switch rawValue & 3 {
        case 0: .read
        case 1: .write
        default: [.read, .write]
        }
    }

    var canRead: Bool { rawValue & 3 == 0 || rawValue & 3 == 2 }
    var canWrite: Bool { rawValue & 3 == 1 || rawValue & 3 == 2 }
}
