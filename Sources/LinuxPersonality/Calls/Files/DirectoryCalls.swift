// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// How `getdents64` and `getdents` write an entry: each a multiple of 8 bytes.
private enum DirectoryRecord {
    /// 19 bytes, and the name with its NUL.
    case current
    /// 18 bytes, the name with its NUL, and the type as the last byte of all.
    case old

    func length(of name: [UInt8]) -> Int { (20 + name.count + 7) / 8 * 8 }

    func append(_ entry: DirectoryEntry, next: Int, to record: inout GuestRecord) {
        let length = length(of: entry.name)
        let end = record.bytes.count + length
        record.append(entry.inode)
        record.append(next)
        record.append(UInt64(length), bytes: 2)
        if self == .current { record.append(UInt64(entry.type.rawValue), bytes: 1) }
        record.append(entry.name)
        record.pad(to: self == .current ? end : end - 1)
        if self == .old { record.append(UInt64(entry.type.rawValue), bytes: 1) }
    }
}

private typealias DirectoryEntry = (inode: UInt64, type: FileType, name: [UInt8])

/// What is in directories.
extension LinuxProcess {
    mutating func getdents64(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try list(arguments, .current, memory)
    }

    mutating func getdents(_ arguments: CallArguments, _ memory: borrowing GuestMemory) throws(Errno) -> CallEnd {
        try list(arguments, .old, memory)
    }

    private mutating func list(
        _ arguments: CallArguments, _ form: DirectoryRecord, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        let number = try files.number(arguments.int(0))
        let file = try files.usableFile(arguments.int(0))
        guard case .directory(let directory) = file.kind else { throw .enotdir }
        guard files.tree.attributes(directory).links > 0 else { throw .enoent }
        let listing = file.offset == 0 ? nil : file.listing
        let names = listing ?? self.names(in: directory)
        var (record, next) = (GuestRecord(), file.offset)
        let limit = Int(min(arguments.uint(2), 1 << 16))
        while next < names.count + 2 {
            guard let entry = entry(next, of: directory, names) else {
                next += 1
                continue
            }
            guard record.bytes.count + form.length(of: entry.name) <= limit else {
                if record.bytes.isEmpty { throw .einval }
                break
            }
            next += 1
            form.append(entry, next: next, to: &record)
        }
        try space.write(record.bytes, at: arguments[1], memory)
        files.open[number]?.listing = names
        files.open[number]?.offset = next
        return .value(record.bytes.count)
    }

    private func names(in directory: InodeNumber) -> [FileName] {
        if case .descriptors = files.tree[directory].body { return files.table.numbers.map { FileName("\($0)") } }
        return files.tree.names(in: directory)
    }

    /// An entry by its place: the dots first; nil for one that was removed since the listing was made.
    private mutating func entry(
        _ place: Int, of directory: InodeNumber, _ names: [FileName]
    ) -> DirectoryEntry? {
        switch place {
        case 0: return (directory.value, .directory, [46])
        case 1: return (files.tree.parent(of: directory).value, .directory, [46, 46])
        default:
            let name = names[place - 2]
            if case .descriptors = files.tree[directory].body { return (directory.value, .symbolicLink, name.bytes) }
            guard let child = files.tree.child(name, of: directory) else { return nil }
            return (child.value, files.tree.attributes(child).type, name.bytes)
        }
    }
}
