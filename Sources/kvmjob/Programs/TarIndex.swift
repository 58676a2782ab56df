// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is in an archive that somebody brings, by name: enough to tell which programs it has. The bytes of its files stay in it.
struct TarIndex {
    /// The entries in the archive's order, in which the later of two for one path wins.
    private(set) var entries: [(path: GuestPath, node: GuestTree.Node)] = []

    /// The most bytes of an extended header: 1 MiB.
    static let extensionLimit: UInt64 = 1 << 20

    private let archive: [UInt8]
    /// What extended headers say of the next entry.
    private var path: [UInt8]?
    private var linkPath: [UInt8]?
    private var size: UInt64?

    /// Reads an archive: ustar, with the extended headers of POSIX and of GNU.
    ///
    /// - Parameters:
    ///   - name: what the archive is called when something is wrong with it.
    ///   - entryLimit: the most entries.
    /// - Throws: ``CommandFailure``.
    init(
        _ archive: [UInt8], name: String, entryLimit: Int = GuestTree.entryLimit
    ) throws(CommandFailure) {
        self.archive = archive
        var offset = 0
        while offset + TarWriter.blockBytes <= archive.count {
            let header = archive[offset..<offset + TarWriter.blockBytes]
            if header.allSatisfy({ $0 == 0 }) { return }
            guard Self.hasChecksum(header) else { throw Self.wrong(archive, name, at: offset) }
            let named = Self.number(header, 124, 12)
            let isExtension = "xgLK".utf8.contains(header[offset + 156])
            let bytes = isExtension ? named : size ?? named
            let start = offset + TarWriter.blockBytes
            guard let bytes, bytes <= UInt64(archive.count - start) else { throw Self.wrong(archive, name, at: offset) }
            if isExtension {
                guard bytes <= Self.extensionLimit else { throw Self.wrong(archive, name, at: offset) }
                extend(header[offset + 156], archive[start..<start + Int(bytes)])
            } else {
                add(header)
            }
            guard entries.count <= entryLimit else {
                throw CommandFailure(
                    message: "\(name) has more than \(entryLimit) entries", status: ExitStatus.cannotRun)
            }
            let blocks = (Int(bytes) + TarWriter.blockBytes - 1) / TarWriter.blockBytes
            offset = start + blocks * TarWriter.blockBytes
        }
        guard !entries.isEmpty || archive.isEmpty else { throw Self.wrong(archive, name, at: 0) }
    }

    private mutating func add(_ header: ArraySlice<UInt8>) {
        defer { (path, linkPath, size) = (nil, nil, nil) }
        let first = header.startIndex
        var name = Self.text(header, 0, 100)
        let prefix = Self.text(header, 345, 155)
        let isUstar = header[first + 257..<first + 263].elementsEqual("ustar\u{0}".utf8)
        if isUstar, !prefix.isEmpty { name = prefix + [UInt8(ascii: "/")] + name }
        let mode = UInt16(truncatingIfNeeded: Self.number(header, 100, 8) ?? 0) & 0o7777
        let place = GuestPath(bytes: path ?? name)
        switch header[first + 156] {
        // A second name of a file is a file; where the first one is does not matter here.
        case 0, UInt8(ascii: "0"), UInt8(ascii: "1"), UInt8(ascii: "7"):
            entries.append((place, .file(.archived, mode: mode)))
        case UInt8(ascii: "2"): entries.append((place, .link(target: linkPath ?? Self.text(header, 157, 100))))
        case UInt8(ascii: "5"): entries.append((place, .directory(mode: mode)))
        default: break
        }
    }

    private mutating func extend(_ kind: UInt8, _ bytes: ArraySlice<UInt8>) {
        switch kind {
        case UInt8(ascii: "L"): path = Array(bytes.prefix { $0 != 0 })
        case UInt8(ascii: "K"): linkPath = Array(bytes.prefix { $0 != 0 })
        case UInt8(ascii: "x"): readRecords(bytes)
        default: break
        }
    }

    /// `LENGTH KEY=VALUE\n`, where the length counts all of it; what does not look so ends the header.
    private mutating func readRecords(_ bytes: ArraySlice<UInt8>) {
        var rest = bytes
        while let blank = rest.firstIndex(of: UInt8(ascii: " ")),
            let length = Int(String(decoding: rest[..<blank], as: UTF8.self)), length <= rest.count,
            length > blank - rest.startIndex + 1
        {
            let record = rest[(blank + 1)..<(rest.startIndex + length - 1)]
            rest = rest.dropFirst(length)
            guard let equals = record.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let value = Array(record[(equals + 1)...])
            switch String(decoding: record[..<equals], as: UTF8.self) {
            case "path": path = value
            case "linkpath": linkPath = value
            case "size": size = UInt64(String(decoding: value, as: UTF8.self))
            default: break
            }
        }
    }

    // MARK: Fields

    private static func text(_ header: ArraySlice<UInt8>, _ offset: Int, _ count: Int) -> [UInt8] {
        Array(header.dropFirst(offset).prefix(count).prefix { $0 != 0 })
    }

    /// Octal digits, or where the first bit is set a binary number, as GNU writes large ones.
    private static func number(_ header: ArraySlice<UInt8>, _ offset: Int, _ count: Int) -> UInt64? {
        let field = header.dropFirst(offset).prefix(count)
        if let first = field.first, first & 0x80 != 0 {
            guard field.dropFirst().dropLast(8).allSatisfy({ $0 == 0 }), first == 0x80 else { return nil }
            return field.suffix(8).reduce(0) { $0 << 8 | UInt64($1) }
        }
        let digits = field.drop { $0 == UInt8(ascii: " ") }.prefix { $0 != UInt8(ascii: " ") && $0 != 0 }
        return digits.isEmpty ? 0 : UInt64(String(decoding: digits, as: UTF8.self), radix: 8)
    }

    private static func hasChecksum(_ header: ArraySlice<UInt8>) -> Bool {
        let field = header.startIndex + 148..<header.startIndex + 156
        let sum = header.indices.reduce(UInt64(0)) { $0 + (field.contains($1) ? 0x20 : UInt64(header[$1])) }
        return number(header, 148, 8) == sum
    }

    private static func wrong(_ archive: [UInt8], _ name: String, at offset: Int) -> CommandFailure {
        let packers: [([UInt8], String)] = [
            ([0x1F, 0x8B], "gunzip"), ([0xFD, 0x37, 0x7A], "unxz"), ([0x28, 0xB5, 0x2F, 0xFD], "unzstd"),
            ([0x42, 0x5A, 0x68], "bunzip2"),
        ]
        let packer = offset == 0 ? packers.first { archive.starts(with: $0.0) }?.1 : nil
        let advice = packer.map { "it is packed: unpack it with \($0) first" }
        return CommandFailure(
            message: "\(name) is no tar archive: "
                + (advice ?? "there is no sound header at byte \(offset); name a directory or a tar file"),
            status: ExitStatus.cannotRun)
    }
}

extension GuestTree {
    /// Takes note of what an archive brings, which itself becomes the layer.
    mutating func index(_ archive: [UInt8], name: String, in layer: Layer) throws(CommandFailure) {
        for (path, node) in try TarIndex(archive, name: name).entries { try add(node, at: path, in: layer) }
    }
}
