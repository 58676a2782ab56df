// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Extended attributes: no file has any, and none can be given to it.
extension LinuxProcess {
    /// How such a call names its file.
    enum AttributeTarget { case path, link, descriptor }

    /// `getxattr` and its kin.
    mutating func getxattr(
        _ arguments: CallArguments, of target: AttributeTarget, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        try checkTarget(arguments, target, memory)
        _ = try attributeName(arguments[1], memory)
        throw .enodata
    }

    /// `setxattr`, `removexattr` and their kin.
    mutating func changexattr(
        _ arguments: CallArguments, of target: AttributeTarget, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        _ = try attributeName(arguments[1], memory)
        try checkTarget(arguments, target, memory)
        throw .eopnotsupp
    }

    /// `listxattr` and its kin.
    mutating func listxattr(
        _ arguments: CallArguments, of target: AttributeTarget, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        try checkTarget(arguments, target, memory)
        return .zero
    }

    private mutating func checkTarget(
        _ arguments: CallArguments, _ target: AttributeTarget, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        switch target {
        case .descriptor: _ = try files.usableFile(arguments.int(0))
        case .path, .link:
            _ = try self.target(
                ProcessFiles.currentDirectory, try path(arguments[0], memory), follows: target == .path)
        }
    }

    /// 1 to 255 bytes.
    private mutating func attributeName(
        _ address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) -> [UInt8] {
        do throws(Errno) {
            let name = try space.cString(at: address, limit: 255, memory)
            guard !name.isEmpty else { throw .erange }
            return name
        } catch { throw error == .enametoolong ? .erange : error }
    }
}
