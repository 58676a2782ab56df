// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The lines of a source, one at a time.
struct LineReader {
    /// The most bytes of a line: 4 KiB. What a longer one has beyond that is dropped.
    static let lineLimit = 4096

    private let source: ByteSource
    private var pending: [UInt8] = []
    private var hasEnded = false

    init(_ source: ByteSource) { self.source = source }

    /// The next line without its newline, nil at the end. A last line needs no newline.
    ///
    /// - Throws: ``SystemReason``.
    mutating func next() async throws -> String? {
        while true {
            if let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                defer { pending.removeSubrange(...end) }
                return Self.text(pending[..<end])
            }
            guard !hasEnded, let piece = try await source.next() else {
                hasEnded = true
                defer { pending = [] }
                return pending.isEmpty ? nil : Self.text(pending[...])
            }
            pending = pending.prefix(Self.lineLimit) + piece
        }
    }

    private static func text(_ line: ArraySlice<UInt8>) -> String {
        String(decoding: line.prefix(lineLimit), as: UTF8.self)
    }
}
