// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A manifest's lines, one at a time. No more of the file is held than a line and what came behind it in one piece.
struct ManifestReader {
    /// The most bytes of a line: 1 MiB.
    static let lineBytesLimit = 1 << 20
    /// The most lines: ten million.
    static let lineLimit = 10_000_000

    /// A line as it stands in the file.
    struct RawLine {
        /// The first is 1.
        var number: Int
        /// Without the newline; nil of a line that has more than ``ManifestReader/lineBytesLimit`` bytes.
        var bytes: [UInt8]?
        /// Whether there was a newline behind it.
        var hasEnd: Bool
    }

    private let source: ByteSource
    private var pending: [UInt8] = []
    private var start = 0
    /// The most bytes of a line in this file.
    private let bytesLimit: Int
    private(set) var number = 0
    private var hasEnded = false

    init(_ source: ByteSource, bytesLimit: Int = ManifestReader.lineBytesLimit) {
        (self.source, self.bytesLimit) = (source, bytesLimit)
    }

    /// The next line that is not blank, nil at the end. A last line needs no newline.
    ///
    /// - Throws: ``SystemReason``.
    mutating func next() async throws -> RawLine? {
        while let line = try await nextLine() {
            guard let bytes = line.bytes, bytes.allSatisfy(JSONLineParser.isSpace) else { return line }
        }
        return nil
    }

    private mutating func nextLine() async throws -> RawLine? {
        var isTooLong = false
        var searched = start
        while true {
            if let end = pending[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { start = end + 1 }
                return line(pending[start..<end], isTooLong, hasEnd: true)
            }
            if pending.count - start > bytesLimit {
                isTooLong = true
                start = pending.count
            }
            pending.removeSubrange(..<start)
            (start, searched) = (0, pending.count)
            guard !hasEnded, let piece = try await source.next() else {
                hasEnded = true
                defer { (pending, start) = ([], 0) }
                return pending.isEmpty && !isTooLong ? nil : line(pending[...], isTooLong, hasEnd: false)
            }
            pending += piece
        }
    }

    private mutating func line(_ bytes: ArraySlice<UInt8>, _ isTooLong: Bool, hasEnd: Bool) -> RawLine {
        number += 1
        let isKept = !isTooLong && bytes.count <= bytesLimit
        return RawLine(number: number, bytes: isKept ? Array(bytes) : nil, hasEnd: hasEnd)
    }
}
