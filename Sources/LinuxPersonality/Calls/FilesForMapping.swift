// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension LinuxProcess {
    /// An open file, for a mapping.
    ///
    /// - Throws: EBADF for a descriptor that there is not.
    func mappableFile(_ descriptor: Int32) throws(Errno) -> MappableFile {
        guard let bytes = filesForMapping[descriptor] else { throw .ebadf }
        return .unchanged(bytes)
    }

    /// What `/proc/self/maps` calls it.
    func nameForMapping(_ descriptor: Int32) -> [UInt8] { [] }
}
