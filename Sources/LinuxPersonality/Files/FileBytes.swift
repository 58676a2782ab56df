// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Bytes of a file that never change: a part of an array that others share, such as the archive that they came in.
public struct FileBytes: Sendable {
    /// The array that has them.
    let storage: [UInt8]
    /// Where in it they are.
    let range: Range<Int>

    /// All of an array.
    public init(_ bytes: [UInt8]) { (storage, range) = (bytes, bytes.indices) }

    /// A part of an array; it must lie inside.
    init(_ storage: [UInt8], _ range: Range<Int>) {
        precondition(storage.indices.contains(range.lowerBound) || range.isEmpty)
        precondition(range.upperBound <= storage.count)
        (self.storage, self.range) = (storage, range)
    }

    /// How many there are.
    public var count: Int { range.count }

    /// Some of them, as far as they are there.
    func bytes(from offset: Int, count: Int) -> ArraySlice<UInt8> {
        guard offset >= 0, count > 0, offset < self.count else { return [] }
        let start = range.lowerBound + offset
        return storage[start..<start + min(count, self.count - offset)]
    }
}
