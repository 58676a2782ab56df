// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension LinuxProcess {
    /// An open file, for a mapping; nil for `/dev/zero`, which gives memory as if there were none.
    ///
    /// - Throws: EBADF for a descriptor that there is not, EACCES for one that cannot be read, ENODEV for what is not a regular
    ///   file.
    func mappableFile(_ descriptor: Int32) throws(Errno) -> MappableFile? {
        let file = try files.usableFile(descriptor)
        guard file.flags.canRead else { throw .eacces }
        switch file.kind {
        case .device(.zero, _): return nil
        case .file(let number):
            let content = files.tree[number].content
            return content.unchanged.map { .unchanged($0) } ?? .written { content.piece(from: $0, limit: $1) }
        default: throw .enodev
        }
    }

    /// What `/proc/self/maps` calls a file that memory is mapped from.
    func nameForMapping(_ descriptor: Int32) -> [UInt8] {
        guard let file = try? files.file(descriptor) else { return [] }
        return files.path(of: file) ?? []
    }
}
