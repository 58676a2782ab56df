// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Why an archive is not taken: what was wrong, and where.
public struct TarError: Error, Sendable, Hashable {
    /// What was wrong.
    public enum Reason: Sendable, Hashable {
        /// The archive ends in the middle of a header or of a file.
        case truncated
        /// The checksum of a header is not that of its bytes.
        case checksum
        /// A number in a header is not octal, or too large.
        case number
        /// The header is neither ustar nor GNU.
        case format
        /// A pax record is not `LENGTH KEY=VALUE` and a newline.
        case paxRecord
        /// A name is empty, has a NUL, or a part of it is longer than 255 bytes.
        case name
        /// A name is longer than ``FileTreeLimits/pathBytes``.
        case pathTooLong
        /// The target of a symbolic link is empty or longer than ``FileTreeLimits/linkBytes``.
        case link
        /// A name has more parts than ``FileTreeLimits/depth``.
        case tooDeep
        /// There are more entries than ``FileTreeLimits/entries``.
        case tooManyEntries
        /// A hard link names nothing that came before it, or a directory.
        case hardLink
        /// A name leads through something that is not a directory.
        case notADirectory
        /// An entry is of a type that this reader does not know.
        case type(UInt8)
    }

    /// What was wrong.
    public var reason: Reason
    /// Where the header of the entry begins, in bytes from the archive's beginning.
    public var offset: Int
}

/// How large a tree may be; an archive that goes beyond is not taken.
public enum FileTreeLimits {
    /// Entries of one archive, with the directories that are only implied.
    public static let entries = 1 << 18
    /// Bytes of an entry's name: `PATH_MAX`.
    public static let pathBytes = 4096
    /// Bytes of a symbolic link's target: `PATH_MAX` without the NUL.
    public static let linkBytes = 4095
    /// Parts of an entry's name.
    public static let depth = 128
}
