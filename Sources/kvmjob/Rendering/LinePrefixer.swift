// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Puts a job's name before each line of its output, so that the lines of several jobs can share a terminal.
///
/// Bytes are passed on as they are; only `\n` ends a line.
struct LinePrefixer: Sendable {
    /// The longest line that is kept together, in bytes; a longer one is broken, so that a guest cannot make us hold more.
    static let lineLimit = 65_536

    private let prefix: [UInt8]
    private var line: [UInt8] = []

    init(name: String) { prefix = Array("\(name): ".utf8) }

    /// The lines that these bytes complete, each with its prefix.
    mutating func feed(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        var complete: [UInt8] = []
        for byte in bytes {
            line.append(byte)
            if byte == UInt8(ascii: "\n") || line.count == Self.lineLimit { complete += finish() }
        }
        return complete
    }

    /// The rest, made a line; nothing if the output ended with a newline.
    mutating func finish() -> [UInt8] {
        guard !line.isEmpty else { return [] }
        let newline = line.last == UInt8(ascii: "\n") ? [] : [UInt8(ascii: "\n")]
        defer { line.removeAll(keepingCapacity: true) }
        return prefix + line + newline
    }
}
