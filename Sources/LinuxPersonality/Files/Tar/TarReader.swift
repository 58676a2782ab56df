// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Goes through a tar archive, entry by entry: ustar, pax (`path`, `linkpath`, `size`) and GNU's long names.
///
/// The bytes may be anybody's: each number and length is checked before it is used. Nothing of a file's content is copied.
struct TarReader {
    /// One entry; names are as the archive has them.
    struct Entry {
        enum Kind {
            case file(FileBytes)
            case directory
            case symbolicLink(target: [UInt8])
            case hardLink(to: [UInt8])
            /// A device or a fifo; there is no place for them in a tree.
            case special
        }

        var name: [UInt8]
        var kind: Kind
        var mode: UInt16
        var modified: Int64
        /// Where its header begins.
        var offset: Int
    }

    /// What headers before an entry said about it.
    private struct Announced {
        var name: [UInt8]?
        var linkName: [UInt8]?
        var size: Int?
    }

    private let archive: [UInt8]
    private var position = 0

    init(_ archive: [UInt8]) { self.archive = archive }

    /// The next entry, or nil at the archive's end: a block of zeros, or no more bytes.
    mutating func next() throws(TarError) -> Entry? {
        var announced = Announced()
        while true {
            let offset = position
            do throws(TarReason) {
                guard let header = try header() else { return nil }
                if try note(header, &announced) { continue }
                return try entry(header, announced, offset)
            } catch {
                throw TarError(reason: error.reason, offset: offset)
            }
        }
    }

    private mutating func header() throws(TarReason) -> TarHeader? {
        guard position < archive.count else { return nil }
        guard archive.count - position >= TarHeader.bytes else { throw TarReason(.truncated) }
        let block = archive[position..<position + TarHeader.bytes]
        if block.allSatisfy({ $0 == 0 }) { return nil }
        position += TarHeader.bytes
        return try TarHeader(block)
    }

    /// Takes the bytes behind a header, and what fills them up to a whole block.
    private mutating func body(_ count: Int) throws(TarReason) -> Range<Int> {
        guard count <= archive.count - position else { throw TarReason(.truncated) }
        let start = position
        position = min(archive.count, start + (count + TarHeader.bytes - 1) / TarHeader.bytes * TarHeader.bytes)
        return start..<start + count
    }

    /// Whether this header only says something about the entry that follows.
    private mutating func note(_ header: TarHeader, _ announced: inout Announced) throws(TarReason) -> Bool {
        switch header.type {
        case UInt8(ascii: "L"): announced.name = try longName(header)
        case UInt8(ascii: "K"): announced.linkName = try longName(header)
        case UInt8(ascii: "x"): try records(in: archive[try body(header.size)], &announced)
        case UInt8(ascii: "g"): _ = try body(header.size)
        default: return false
        }
        return true
    }

    private mutating func longName(_ header: TarHeader) throws(TarReason) -> [UInt8] {
        let range = try body(header.size)
        guard range.count <= FileTreeLimits.pathBytes + 1 else { throw TarReason(.pathTooLong) }
        return Array(TarHeader.text(archive[range]))
    }

    /// Records of a pax header, `LENGTH KEY=VALUE\n`, where the length counts the whole record.
    private func records(in bytes: ArraySlice<UInt8>, _ announced: inout Announced) throws(TarReason) {
        var rest = bytes
        while !rest.isEmpty {
            guard let blank = rest.prefix(20).firstIndex(of: 32),
                let length = Self.decimal(rest[rest.startIndex..<blank]), length <= rest.count,
                rest.startIndex + length > blank + 1, rest[rest.startIndex + length - 1] == 10,
                let equals = rest[blank..<rest.startIndex + length].firstIndex(of: UInt8(ascii: "="))
            else { throw TarReason(.paxRecord) }
            let value = rest[equals + 1..<rest.startIndex + length - 1]
            switch String(decoding: rest[blank + 1..<equals], as: UTF8.self) {
            case "path": announced.name = Array(value)
            case "linkpath": announced.linkName = Array(value)
            case "size":
                guard let size = Self.decimal(value) else { throw TarReason(.paxRecord) }
                announced.size = size
            default: break
            }
            rest = rest[(rest.startIndex + length)...]
        }
    }

    /// Decimal digits, at most eighteen of them.
    private static func decimal(_ digits: ArraySlice<UInt8>) -> Int? {
        guard (1...18).contains(digits.count) else { return nil }
        var value = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            value = value * 10 + Int(digit - UInt8(ascii: "0"))
        }
        return value
    }

    private mutating func entry(_ header: TarHeader, _ announced: Announced, _ offset: Int) throws(TarReason) -> Entry {
        let linkName = announced.linkName ?? Array(header.linkName)
        let name = announced.name ?? Array(header.name)
        let kind: Entry.Kind
        switch header.type {
        case 0, UInt8(ascii: "0"), UInt8(ascii: "7"):
            let range = try body(announced.size ?? header.size)
            // Archives from before ustar mark a directory by a slash only.
            kind = name.last == UInt8(ascii: "/") && range.isEmpty ? .directory : .file(FileBytes(archive, range))
        case UInt8(ascii: "1"): kind = .hardLink(to: linkName)
        case UInt8(ascii: "2"): kind = .symbolicLink(target: linkName)
        case UInt8(ascii: "5"): kind = .directory
        case UInt8(ascii: "3"), UInt8(ascii: "4"), UInt8(ascii: "6"): kind = .special
        default: throw TarReason(.type(header.type))
        }
        return Entry(name: name, kind: kind, mode: header.mode, modified: header.modified, offset: offset)
    }
}
