// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Bytes in the order of the wire, written one behind the other into room that is there already.
///
/// Appending to an array asks of every byte whether there is room for it and whether the array is shared; here that is asked once
/// for each number.
struct ByteWriter: ~Copyable {
    private var room: [UInt8]
    private(set) var count = 0

    /// - Parameter capacity: bytes for which there is room; beyond them it grows.
    init(capacity: Int) { room = [UInt8](repeating: 0, count: capacity) }

    /// What has been written.
    consuming func finish() -> [UInt8] {
        room.removeLast(room.count - count)
        return room
    }

    /// Writes a number over what is at this place.
    mutating func replace<T: FixedWidthInteger & UnsignedInteger>(at start: Int, by value: T) {
        let size = T.bitWidth / 8
        var span = room.mutableSpan
        for index in 0..<size {
            span[start + index] = UInt8(truncatingIfNeeded: value >> T(truncatingIfNeeded: (size - 1 - index) * 8))
        }
    }

    /// A number, most significant byte first.
    mutating func put<T: FixedWidthInteger & UnsignedInteger>(_ value: T) {
        replace(at: take(T.bitWidth / 8), by: value)
    }

    mutating func put(_ bytes: [UInt8]) {
        let start = take(bytes.count)
        room.replaceSubrange(start..<start + bytes.count, with: bytes)
    }

    /// The place of so many bytes, for which there is room behind this.
    private mutating func take(_ size: Int) -> Int {
        let start = count
        count += size
        if count > room.count { room += [UInt8](repeating: 0, count: max(count - room.count, room.count)) }
        return start
    }
}

/// What has one size on the wire, whatever its values are.
protocol WireBlock {
    static var wireSize: Int { get }
    /// Writes ``wireSize`` bytes.
    func put(in bytes: inout ByteWriter)
}

extension WireBlock {
    var wire: [UInt8] {
        var bytes = ByteWriter(capacity: Self.wireSize)
        put(in: &bytes)
        return bytes.finish()
    }
}
