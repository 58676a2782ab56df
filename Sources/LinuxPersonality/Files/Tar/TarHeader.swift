// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The fields of one 512-byte header that matter here.
struct TarHeader {
    static let bytes = 512

    /// The name, with the prefix of ustar put before it.
    var name: ArraySlice<UInt8>
    var linkName: ArraySlice<UInt8>
    var mode: UInt16
    var size: Int
    var modified: Int64
    var type: UInt8

    /// - Parameter block: 512 bytes, not all of them zero.
    init(_ block: ArraySlice<UInt8>) throws(TarReason) {
        let start = block.startIndex
        func field(_ offset: Int, _ count: Int) -> ArraySlice<UInt8> { block[start + offset..<start + offset + count] }
        try Self.check(field(148, 8), of: block)
        let isPosix = Array(field(257, 6)) == Array("ustar\0".utf8)
        let isGNU = Array(field(257, 6)) == Array("ustar ".utf8)
        guard isPosix || isGNU else { throw TarReason(.format) }
        name = Self.text(field(0, 100))
        let prefix = isPosix ? Self.text(field(345, 155)) : []
        if !prefix.isEmpty { name = ArraySlice(Array(prefix) + [UInt8(ascii: "/")] + name) }
        linkName = Self.text(field(157, 100))
        type = block[start + 156]
        mode = UInt16(truncatingIfNeeded: try Self.number(field(100, 8)) & 0o7777)
        let (size, modified) = (try Self.number(field(124, 12)), try Self.number(field(136, 12)))
        guard size >= 0 else { throw TarReason(.number) }
        (self.size, self.modified) = (Int(size), modified)
    }

    /// The checksum is of all bytes, with its own field taken as blanks.
    private static func check(_ field: ArraySlice<UInt8>, of block: ArraySlice<UInt8>) throws(TarReason) {
        var sum: Int64 = 0
        for byte in block { sum += Int64(byte) }
        for byte in field { sum += 32 - Int64(byte) }
        guard try number(field) == sum else { throw TarReason(.checksum) }
    }

    /// Bytes up to the first NUL.
    static func text(_ field: ArraySlice<UInt8>) -> ArraySlice<UInt8> { field.prefix { $0 != 0 } }

    /// Octal digits with blanks around them, or GNU's big-endian binary with the first bit set.
    static func number(_ field: ArraySlice<UInt8>) throws(TarReason) -> Int64 {
        guard let first = field.first else { return 0 }
        if first & 0x80 != 0 { return try binary(field) }
        var (value, seen, ended) = (Int64(0), false, false)
        for byte in field {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "7"):
                guard !ended, value < 1 << 56 else { throw TarReason(.number) }
                value = value << 3 | Int64(byte & 7)
                seen = true
            case 0, 32: ended = seen
            default: throw TarReason(.number)
            }
        }
        return value
    }

    private static func binary(_ field: ArraySlice<UInt8>) throws(TarReason) -> Int64 {
        let isNegative = field[field.startIndex] & 0x40 != 0
        var value: Int64 = isNegative ? -1 : 0
        for (index, byte) in field.enumerated() {
            let bits = index == 0 ? (isNegative ? byte | 0x80 : byte & 0x3F) : byte
            guard value >= -(1 << 54), value < 1 << 54 else { throw TarReason(.number) }
            value = value << 8 | Int64(bits)
        }
        return value
    }
}

/// A reason whose place is known further up.
struct TarReason: Error {
    var reason: TarError.Reason

    init(_ reason: TarError.Reason) { self.reason = reason }
}
