// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Calls that ask for nothing that could be done, where all files are in memory; they check their arguments as Linux does.
extension LinuxProcess {
    /// `fadvise64`.
    mutating func fadvise64(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try demandSeekable(try files.usableFile(arguments.int(0)))
        guard arguments.long(2) >= 0, arguments.uint(3) <= 5 else { throw .einval }
        return .zero
    }

    /// `readahead`.
    mutating func readahead(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let file = try files.usableFile(arguments.int(0))
        guard file.flags.canRead else { throw .ebadf }
        guard case .file = file.kind else { throw .einval }
        return .zero
    }

    /// `sync_file_range`.
    mutating func syncFileRange(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        let file = try files.usableFile(arguments.int(0))
        let end = arguments.long(1).addingReportingOverflow(arguments.long(2))
        guard arguments.uint(3) & ~7 == 0, arguments.long(1) >= 0, arguments.long(2) >= 0, !end.overflow else {
            throw .einval
        }
        try demandSeekable(file)
        return .zero
    }
}
