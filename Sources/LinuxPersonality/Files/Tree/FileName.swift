// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// One name in a directory: bytes, neither empty nor with a slash, and compared as bytes, as Linux does.
struct FileName: Hashable, Sendable, Comparable {
    /// The longest that Linux takes, `NAME_MAX`.
    static let maximumBytes = 255

    let bytes: [UInt8]

    init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }

    init(_ text: String) { bytes = Array(text.utf8) }

    /// Eight bytes at a time: names are hashed at each step of each path.
    func hash(into hasher: inout Hasher) {
        hasher.combine(bytes.count)
        var word: UInt64 = 0
        for (index, byte) in bytes.enumerated() {
            word = word << 8 | UInt64(byte)
            if index & 7 == 7 {
                hasher.combine(word)
                word = 0
            }
        }
        hasher.combine(word)
    }

    static func < (left: FileName, right: FileName) -> Bool { left.bytes.lexicographicallyPrecedes(right.bytes) }
}

/// What an inode is, by the numbers of `st_mode`'s upper four bits.
enum FileType: UInt16, Sendable {
    case fifo = 1
    case characterDevice = 2
    case directory = 4
    case regular = 8
    case symbolicLink = 10
    case socket = 12

    /// Its bits in `st_mode`.
    var modeBits: UInt32 { UInt32(rawValue) << 12 }
}

/// A point in time as files have it, `struct timespec`.
struct FileTime: Hashable, Sendable {
    var seconds: Int64
    /// Below a thousand million.
    var nanoseconds: UInt32

    static let zero = FileTime(seconds: 0, nanoseconds: 0)

    init(seconds: Int64, nanoseconds: UInt32) { (self.seconds, self.nanoseconds) = (seconds, nanoseconds) }

    /// - Parameter realtime: nanoseconds since 1970.
    init(realtime: UInt64) {
        seconds = Int64(realtime / 1_000_000_000)
        nanoseconds = UInt32(realtime % 1_000_000_000)
    }
}
