// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The bytes of a file by their offset in it, which is any 64-bit number that the file itself may have named.
struct ImageBytes: Sendable {
    /// Shares its storage with the array that it is a part of.
    private let slice: ArraySlice<UInt8>

    init(_ slice: ArraySlice<UInt8>) { self.slice = slice }
    init(_ bytes: [UInt8]) { slice = bytes[...] }

    var count: UInt64 { UInt64(slice.count) }

    /// Whether so many bytes are there.
    func has(_ count: UInt64, at offset: UInt64) -> Bool { offset <= self.count && count <= self.count - offset }

    /// Bytes that are there.
    ///
    /// - Precondition: ``has(_:at:)``.
    subscript(offset: UInt64, count: UInt64) -> ArraySlice<UInt8> {
        let start = slice.startIndex + Int(offset)
        return slice[start..<start + Int(count)]
    }

    /// - Parameters:
    ///   - fields: the names of those that say where the bytes are and how many.
    ///   - value: what the second of them says, where that is not the count of bytes.
    func check(
        _ count: UInt64, at offset: UInt64, by fields: (place: String, count: String), saying value: UInt64? = nil,
        _ what: @autoclosure () -> String
    ) throws(ELFError) {
        guard !has(count, at: offset) else { return }
        let isBehind = offset > self.count
        throw ELFError(
            .truncated, isBehind ? fields.place : fields.count, isBehind ? offset : value ?? count, at: offset,
            "\(what()) is \(count) bytes at \(offset.hexadecimal), and the file has \(self.count) bytes in all")
    }

    func begins(with start: [UInt8]) -> Bool { slice.starts(with: start) }

    /// A little-endian number; 0 where the file has ended, so that whoever reads a table checks its range once.
    private func number(_ bytes: UInt64, at offset: UInt64) -> UInt64 {
        guard has(bytes, at: offset) else { return 0 }
        var (value, index) = (UInt64(0), slice.startIndex + Int(offset + bytes))
        for _ in 0..<bytes {
            index -= 1
            value = value << 8 | UInt64(slice[index])
        }
        return value
    }

    func byte(at offset: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: number(1, at: offset)) }
    func half(at offset: UInt64) -> UInt16 { UInt16(truncatingIfNeeded: number(2, at: offset)) }
    func word(at offset: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: number(4, at: offset)) }
    func long(at offset: UInt64) -> UInt64 { number(8, at: offset) }

    /// The bytes from an offset up to a NUL, which lies before `end` and at most `limit` bytes on; nil if there is none.
    func string(at offset: UInt64, end: UInt64, limit: UInt64) -> ArraySlice<UInt8>? {
        let end = min(end, count)
        guard offset < end else { return nil }
        let reach = self[offset, min(end - offset, limit + 1)]
        guard let stop = reach.firstIndex(of: 0) else { return nil }
        return reach[..<stop]
    }
}
