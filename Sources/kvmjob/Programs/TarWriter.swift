// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Writes an archive of type ustar (POSIX.1-1988), with extended records (pax, POSIX.1-2001) for `path`, `linkpath` and `size` where
/// the old header has no room. Owner and times are 0, so that the same entries in the same order are the same bytes.
struct TarWriter {
    /// What everything in an archive is a multiple of: 512 bytes.
    static let blockBytes = 512
    /// The most bytes of a name or a link's target in the header itself: 100.
    static let nameLimit = 100
    /// The first size that the header itself has no room for: 8 GiB.
    static let sizeLimit: UInt64 = 1 << 33
    /// Names of at most so many bytes are taken; Linux has no longer paths.
    static let pathLimit = 4095

    private enum Kind: UInt8 { case file = 0x30, link = 0x32, directory = 0x35, extended = 0x78 }

    private let limit: UInt64
    private let sink: ([UInt8]) -> Void
    /// Bytes written so far.
    private(set) var count: UInt64 = 0

    /// - Parameters:
    ///   - limit: the most bytes of the archive.
    ///   - sink: takes the archive, chunk after chunk.
    init(limit: UInt64, to sink: @escaping ([UInt8]) -> Void) { (self.limit, self.sink) = (limit, sink) }

    /// Whether a file of this size would still fit, as far as can be told before it is read.
    func hasRoom(for bytes: UInt64) -> Bool { bytes <= limit - min(limit, count) }

    /// - Throws: ``CommandFailure`` if the archive becomes larger than its limit, as everything here does.
    mutating func addDirectory(_ path: GuestPath, mode: UInt16) throws(CommandFailure) {
        try header(.directory, path.bytes + [UInt8(ascii: "/")], mode: mode)
    }

    mutating func addLink(_ path: GuestPath, target: [UInt8]) throws(CommandFailure) {
        try header(.link, path.bytes, mode: 0o777, link: target)
    }

    /// - Parameter modified: seconds since 1970.
    mutating func addFile(
        _ path: GuestPath, mode: UInt16, _ bytes: [UInt8], modified: UInt64 = 0
    ) throws(CommandFailure) {
        try header(.file, path.bytes, mode: mode, size: UInt64(bytes.count), modified: modified)
        try write(bytes)
        try pad()
    }

    /// Writes what ends an archive.
    mutating func finish() throws(CommandFailure) { try write([UInt8](repeating: 0, count: 2 * Self.blockBytes)) }

    // MARK: Headers

    private mutating func header(
        _ kind: Kind, _ name: [UInt8], mode: UInt16, size: UInt64 = 0, link: [UInt8] = [], modified: UInt64 = 0
    ) throws(CommandFailure) {
        guard name.count <= Self.pathLimit, link.count <= Self.pathLimit else {
            throw CommandFailure(
                message: "\(String(decoding: name.prefix(100), as: UTF8.self))... is too long for a path: "
                    + "\(Self.pathLimit) bytes are the most",
                status: ExitStatus.cannotRun)
        }
        var records: [UInt8] = []
        if name.count > Self.nameLimit { records += Self.record("path", name) }
        if link.count > Self.nameLimit { records += Self.record("linkpath", link) }
        if size >= Self.sizeLimit { records += Self.record("size", Array(String(size).utf8)) }
        if !records.isEmpty {
            try write(Self.block(.extended, Array("././@PaxHeader".utf8), 0o644, UInt64(records.count), []))
            try write(records)
            try pad()
        }
        try write(Self.block(kind, name, mode, size, link, modified: min(modified, Self.sizeLimit - 1)))
    }

    /// A record of an extended header: its length in decimal, the length's own digits among it.
    static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let rest = Array(" \(key)=".utf8) + value + [UInt8(ascii: "\n")]
        var length = rest.count + 1
        while String(length).utf8.count + rest.count != length { length = String(length).utf8.count + rest.count }
        return Array(String(length).utf8) + rest
    }

    private static func block(
        _ kind: Kind, _ name: [UInt8], _ mode: UInt16, _ size: UInt64, _ link: [UInt8], modified: UInt64 = 0
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: blockBytes)
        func put(_ bytes: some Collection<UInt8>, at offset: Int) {
            for (index, byte) in bytes.enumerated() { block[offset + index] = byte }
        }
        func octal(_ value: UInt64, digits: Int, at offset: Int) {
            let text = String(value, radix: 8)
            put(String(repeating: "0", count: max(0, digits - text.utf8.count)).utf8, at: offset)
            put(text.utf8.suffix(digits), at: offset + max(0, digits - text.utf8.count))
        }
        put(name.prefix(nameLimit), at: 0)
        octal(UInt64(mode), digits: 7, at: 100)
        octal(0, digits: 7, at: 108)
        octal(0, digits: 7, at: 116)
        octal(size < sizeLimit ? size : 0, digits: 11, at: 124)
        octal(modified, digits: 11, at: 136)
        block[156] = kind.rawValue
        put(link.prefix(nameLimit), at: 157)
        put("ustar\u{0}00".utf8, at: 257)
        // The sum is taken with blanks in its own place.
        put(String(repeating: " ", count: 8).utf8, at: 148)
        octal(block.reduce(0) { $0 + UInt64($1) }, digits: 6, at: 148)
        block[154] = 0
        return block
    }

    private mutating func pad() throws(CommandFailure) {
        let rest = Int(count % UInt64(Self.blockBytes))
        if rest > 0 { try write([UInt8](repeating: 0, count: Self.blockBytes - rest)) }
    }

    private mutating func write(_ bytes: [UInt8]) throws(CommandFailure) {
        guard hasRoom(for: UInt64(bytes.count)) else {
            throw CommandFailure(
                message:
                    "the files are more than \(SizeText.approximate(limit)) as an archive, which is the most for one layer",
                status: ExitStatus.cannotRun)
        }
        count += UInt64(bytes.count)
        if !bytes.isEmpty { sink(bytes) }
    }
}

extension GuestTree {
    /// A layer as an archive, its entries sorted by path; directories that nobody gave a mode are not in it. Blocks.
    ///
    /// - Parameters:
    ///   - limit: the most bytes of the archive.
    ///   - sink: takes the archive, chunk after chunk.
    /// - Throws: ``CommandFailure`` for a file that cannot be read.
    func writeArchive(of layer: Layer, limit: UInt64, to sink: @escaping ([UInt8]) -> Void) throws(CommandFailure) {
        var writer = TarWriter(limit: limit, to: sink)
        for (path, node) in self[layer].sorted(by: { $0.key < $1.key }) {
            switch node {
            case .directory(let mode?): try writer.addDirectory(path, mode: mode)
            case .directory(nil), .file(.archived, _): break
            case .link(let target): try writer.addLink(path, target: target)
            case .file(.bytes(let bytes), let mode): try writer.addFile(path, mode: mode, bytes)
            case .file(.host(let place), let mode):
                let modified = HostFile(at: place)?.modified ?? 0
                let bytes = try Self.read(place, limit: limit - min(limit, writer.count))
                try writer.addFile(path, mode: mode, bytes, modified: modified)
            }
        }
        try writer.finish()
    }

    private static func read(_ path: String, limit: UInt64) throws(CommandFailure) -> [UInt8] {
        do {
            return try HostFile.read(path, limit: limit)
        } catch {
            throw CommandFailure(message: "cannot read \(path): \(error.text)", status: ExitStatus.cannotRun)
        }
    }
}
