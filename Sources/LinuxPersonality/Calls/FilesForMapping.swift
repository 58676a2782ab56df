// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension LinuxProcess {
    /// An open file, for a mapping.
    ///
    /// - Throws: EBADF for a descriptor that there is not, EACCES for one that cannot be read, ENODEV for what is not a regular
    ///   file.
    func mappableFile(_ descriptor: Int32) throws(Errno) -> MappableFile {
        let file = try files.usableFile(descriptor)
        guard file.flags.canRead else { throw .eacces }
        guard case .file(let number) = file.kind else { throw .enodev }
        let content = files.tree[number].content
        return content.unchanged.map { .unchanged($0) } ?? .written { content.piece(from: $0, limit: $1) }
    }

    /// What `/proc/self/maps` calls it.
    func nameForMapping(_ descriptor: Int32) -> [UInt8] { [] }
}
