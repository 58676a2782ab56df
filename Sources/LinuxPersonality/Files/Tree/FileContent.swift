// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The bytes of a file that can be written: shared ones beneath, and chunks of its own where it was written.
///
/// A value: a copy shares all chunks, and a write copies one chunk at most, whatever the size of the file.
struct FileContent: Sendable {
    /// How much is copied by a write to a shared chunk.
    static let chunkBytes = 1 << 16
    /// The largest size of a file.
    static let maximumBytes = 1 << 40
    /// What holes are read from.
    private static let zeros = [UInt8](repeating: 0, count: chunkBytes)

    /// The bytes beneath, as far as they still count.
    private var base: FileBytes
    private var baseCount: Int
    /// By their place; one that is shorter than ``chunkBytes`` goes on with zeros.
    private var chunks: [Int: [UInt8]] = [:]
    /// The size of the file.
    private(set) var count: Int
    /// Bytes that the chunks take.
    private(set) var chunkTotal = 0

    init(_ base: FileBytes = FileBytes([])) { (self.base, baseCount, count) = (base, base.count, base.count) }

    /// Some bytes from an offset inside the file on: at least one and at most `limit`, as many as lie side by side; none at the end.
    func piece(from offset: Int, limit: Int) -> ArraySlice<UInt8> {
        guard offset >= 0, offset < count, limit > 0 else { return [] }
        let (index, inside) = offset.quotientAndRemainder(dividingBy: Self.chunkBytes)
        if let chunk = chunks[index] {
            let wanted = min(limit, count - offset, Self.chunkBytes - inside)
            if inside < chunk.count { return chunk[inside..<min(chunk.count, inside + wanted)] }
            return Self.zeros.prefix(wanted)
        }
        var wanted = min(limit, count - offset)
        if !chunks.isEmpty { wanted = min(wanted, Self.chunkBytes - inside) }
        if offset < baseCount { return base.bytes(from: offset, count: min(wanted, baseCount - offset)) }
        return Self.zeros.prefix(wanted)
    }

    /// The bytes that lie beneath, while they are all that it holds.
    var unchanged: FileBytes? { chunks.isEmpty && count == baseCount && count == base.count ? base : nil }

    /// How many bytes more the chunks take when these are written.
    func growth(writing range: Range<Int>) -> Int {
        var growth = 0
        var index = range.lowerBound / Self.chunkBytes
        while index * Self.chunkBytes < range.upperBound {
            let end = min(range.upperBound - index * Self.chunkBytes, Self.chunkBytes)
            let old = chunks[index]?.count ?? 0
            growth += max(0, max(end, chunks[index] == nil ? beneath(index) : 0) - old)
            index += 1
        }
        return growth
    }

    /// Writes inside one chunk or over several; the file grows as far as needed.
    mutating func write(_ bytes: ArraySlice<UInt8>, at offset: Int) {
        var (rest, position) = (bytes, offset)
        while !rest.isEmpty {
            let (index, inside) = position.quotientAndRemainder(dividingBy: Self.chunkBytes)
            let part = rest.prefix(Self.chunkBytes - inside)
            writePart(part, inside, index)
            rest = rest.dropFirst(part.count)
            position += part.count
        }
        count = max(count, position)
    }

    private mutating func writePart(_ part: ArraySlice<UInt8>, _ inside: Int, _ index: Int) {
        let before = chunks[index]?.count ?? 0
        var chunk = chunks.removeValue(forKey: index) ?? copied(index)
        if chunk.count < inside { chunk.append(contentsOf: Self.zeros.prefix(inside - chunk.count)) }
        let overlap = min(chunk.count - inside, part.count)
        chunk.replaceSubrange(inside..<inside + overlap, with: part.prefix(overlap))
        chunk.append(contentsOf: part.dropFirst(overlap))
        chunkTotal += chunk.count - before
        chunks[index] = chunk
    }

    /// Bytes of a chunk that come from beneath.
    private func beneath(_ index: Int) -> Int { max(0, min(Self.chunkBytes, baseCount - index * Self.chunkBytes)) }

    private func copied(_ index: Int) -> [UInt8] {
        Array(base.bytes(from: index * Self.chunkBytes, count: beneath(index)))
    }

    /// Cuts the file off, or lets it grow by a hole.
    mutating func resize(to size: Int) {
        if size < count {
            baseCount = min(baseCount, size)
            let (last, inside) = size.quotientAndRemainder(dividingBy: Self.chunkBytes)
            for index in chunks.keys where index >= last {
                guard var chunk = chunks.removeValue(forKey: index) else { continue }
                chunkTotal -= chunk.count
                guard index == last, inside > 0 else { continue }
                chunk.removeLast(max(0, chunk.count - inside))
                chunkTotal += chunk.count
                chunks[index] = chunk
            }
        }
        count = size
    }

    /// Where data, or a hole, is next at or after an offset inside the file; a file's end counts as a hole.
    func next(hole: Bool, from offset: Int) -> Int? {
        var position = offset
        while position < count {
            let index = position / Self.chunkBytes
            let isData = chunks[index] != nil || position < baseCount
            if isData != hole { return position }
            // Only chunks and what lies beneath have data: the next place where that changes.
            if isData {
                position =
                    chunks[index] != nil ? (index + 1) * Self.chunkBytes : min(baseCount, (index + 1) * Self.chunkBytes)
            } else {
                guard let following = chunks.keys.filter({ $0 > index }).min() else { return hole ? position : nil }
                position = following * Self.chunkBytes
            }
        }
        return hole ? count : nil
    }
}
