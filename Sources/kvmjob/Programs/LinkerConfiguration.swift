// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The directories that `/etc/ld.so.conf` names, for where the cache that is made from it cannot be read.
struct LinkerConfiguration {
    /// In the file's order.
    private(set) var directories: [String] = []
    private var files = 0

    /// The most files that include each other: 256.
    static let fileLimit = 256
    /// The most bytes of each: 1 MiB.
    static let byteLimit: UInt64 = 1 << 20
    static let path = "/etc/ld.so.conf"

    /// What cannot be read has nothing to say. Blocks.
    init(path: String = Self.path) { read(path) }

    private mutating func read(_ path: String) {
        files += 1
        guard files <= Self.fileLimit, let bytes = try? HostFile.read(path, limit: Self.byteLimit) else { return }
        for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
            let words = line.prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace).map(String.init)
            guard let first = words.first else { continue }
            if first == "include" {
                for pattern in words.dropFirst() { include(pattern, from: path) }
            } else if first.hasPrefix("/") {
                directories.append(first)
            }
        }
    }

    /// A pattern has its one asterisk in the last name, as all that distributions ship do.
    private mutating func include(_ pattern: String, from path: String) {
        let whole = pattern.hasPrefix("/") ? pattern : "\(HostFile.parent(path))/\(pattern)"
        let directory = HostFile.parent(whole)
        let parts = whole.dropFirst(directory.count + 1).split(
            separator: "*", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return read(whole) }
        let names = (try? HostFile.list(directory)) ?? []
        let matches = names.filter {
            $0.hasPrefix(parts[0]) && $0.hasSuffix(parts[1]) && $0.count >= parts[0].count + parts[1].count
        }
        for name in matches.sorted() { read("\(directory)/\(name)") }
    }
}
