// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The dynamic linker's cache, `/etc/ld.so.cache`: which library is where. In the format of glibc 2.2 and later, which newer files
/// have alone and older ones behind the format before it.
struct LinkerCache: Sendable, Hashable {
    /// The paths of each library of x86-64 that every processor can use, best first.
    private(set) var paths: [String: [String]] = [:]

    /// The most libraries of a cache: 65,536.
    static let entryLimit = 65_536
    /// The most bytes of a cache: 16 MiB.
    static let byteLimit: UInt64 = 16 << 20
    /// The most bytes of a name or path in it, without the NUL: 4095.
    static let stringLimit = 4095
    static let path = "/etc/ld.so.cache"

    private static let oldMagic = Array("ld.so-1.7.0\u{0}".utf8)
    private static let magic = Array("glibc-ld.so.cache1.1".utf8)
    private static let headerBytes = 48
    private static let entryBytes = 24
    /// An ELF library (3) for x86-64 (0x300).
    private static let flags: UInt32 = 0x303

    /// Reads a cache; nil if the bytes are none.
    init?(_ bytes: [UInt8]) {
        guard let base = Self.base(of: bytes), bytes.count - base >= Self.headerBytes else { return nil }
        let count = Int(Self.word(bytes, base + 20))
        guard count <= Self.entryLimit, count * Self.entryBytes <= bytes.count - base - Self.headerBytes else {
            return nil
        }
        for index in 0..<count {
            let entry = base + Self.headerBytes + index * Self.entryBytes
            // Libraries for some processors only are left to those who know the guest's.
            let needs = (Self.word(bytes, entry + 16), Self.word(bytes, entry + 20))
            guard Self.word(bytes, entry) == Self.flags, needs == (0, 0),
                let name = Self.string(bytes, base + Int(Self.word(bytes, entry + 4))),
                let path = Self.string(bytes, base + Int(Self.word(bytes, entry + 8)))
            else { continue }
            paths[name, default: []].append(path)
        }
    }

    /// A cache of these libraries.
    init(_ paths: [String: String]) { self.paths = paths.mapValues { [$0] } }

    /// As a dynamic linker reads it.
    var encoded: [UInt8] {
        let entries = paths.flatMap { name, paths in paths.map { (name: Array(name.utf8), path: Array($0.utf8)) } }
            .sorted {
                $0.name == $1.name
                    ? $0.path.lexicographicallyPrecedes($1.path) : Self.precedes($1.name, $0.name)
            }
        var (table, strings) = ([UInt8](), [UInt8]())
        let start = Self.headerBytes + entries.count * Self.entryBytes
        for entry in entries {
            table += Self.bytes(Self.flags) + Self.bytes(UInt32(start + strings.count))
            strings += entry.name + [0]
            table += Self.bytes(UInt32(start + strings.count)) + [UInt8](repeating: 0, count: 12)
            strings += entry.path + [0]
        }
        // Little-endian (2), and no extensions.
        let header = Self.magic + Self.bytes(UInt32(entries.count)) + Self.bytes(UInt32(strings.count)) + [2]
        return header + [UInt8](repeating: 0, count: Self.headerBytes - header.count) + table + strings
    }

    /// The order of the names, in which a run of digits is a number; a cache has the greatest first, and linkers search by halves.
    static func precedes(_ left: [UInt8], _ right: [UInt8]) -> Bool { compare(left[...], right[...]) < 0 }

    private static func compare(_ left: ArraySlice<UInt8>, _ right: ArraySlice<UInt8>) -> Int {
        var (left, right) = (left, right)
        while let one = left.first, let other = right.first {
            switch (isDigit(one), isDigit(other)) {
            case (true, true):
                let (mine, others) = (takeNumber(&left), takeNumber(&right))
                if mine.count != others.count { return mine.count - others.count }
                if !mine.elementsEqual(others) { return mine.lexicographicallyPrecedes(others) ? -1 : 1 }
            case (true, false): return 1
            case (false, true): return -1
            case (false, false):
                if one != other { return one < other ? -1 : 1 }
                (left, right) = (left.dropFirst(), right.dropFirst())
            }
        }
        return left.isEmpty ? (right.isEmpty ? 0 : -1) : 1
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    /// The digits in front without leading zeros, so that the longer of two is the greater number.
    private static func takeNumber(_ bytes: inout ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let digits = bytes.prefix(while: isDigit)
        bytes = bytes.dropFirst(digits.count)
        return digits.drop { $0 == 0x30 }
    }

    // MARK: Bytes

    /// Where the format begins; all offsets count from there.
    private static func base(of bytes: [UInt8]) -> Int? {
        if bytes.starts(with: magic) { return 0 }
        guard bytes.starts(with: oldMagic), bytes.count >= 16 else { return nil }
        let end = 16 + Int(word(bytes, 12)) * 12
        let base = (end + 7) / 8 * 8
        return base <= bytes.count && bytes[base...].starts(with: magic) ? base : nil
    }

    /// A little-endian number; 0 where there are no bytes.
    private static func word(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
        guard offset >= 0, offset + 4 <= bytes.count else { return 0 }
        return (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32($1 * 8) }
    }

    private static func bytes(_ word: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32($0 * 8)) }
    }

    private static func string(_ bytes: [UInt8], _ offset: Int) -> String? {
        guard offset < bytes.count else { return nil }
        let reach = bytes[offset...].prefix(stringLimit + 1)
        guard let end = reach.firstIndex(of: 0), end > offset else { return nil }
        return String(decoding: reach[..<end], as: UTF8.self)
    }
}
