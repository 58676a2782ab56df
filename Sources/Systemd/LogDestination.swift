// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CSystemd
internal import Glibc

/// Where log records end up. Called by one thread at a time; may block.
public protocol LogDestination: Sendable {
    /// Writes one record, wholly or not at all.
    func write(_ record: JournalRecord) throws(SystemCallError)
}

/// The journal, with all fields. A missing journald is no error: the record is then lost. `sd_journal_sendv`
public struct JournalDestination: LogDestination {
    /// The socket where journald takes records.
    static let socketPath = "/run/systemd/journal/socket"

    /// The system's journal.
    public init() {}

    /// Sends one datagram; what does not fit travels in a sealed memfd.
    public func write(_ record: JournalRecord) throws(SystemCallError) {
        var bytes: [UInt8] = []
        var ends: [Int] = []
        func append(_ name: String, _ value: String) {
            bytes.append(contentsOf: name.utf8)
            bytes.append(UInt8(ascii: "="))
            bytes.append(contentsOf: value.utf8)
            ends.append(bytes.count)
        }
        append(JournalFieldName.message, record.message)
        append(JournalFieldName.priority, "\(record.priority.rawValue)")
        for field in record.fields { append(field.name, field.value) }
        _ = try SystemCallError.check(Self.send(&bytes, ends: ends), "sd_journal_sendv")
    }

    /// Sends `bytes` as one field up to each of `ends`, which rise and are not beyond the end of `bytes`.
    private static func send(_ bytes: inout [UInt8], ends: [Int]) -> CInt {
        // SAFETY: every vector lies within `bytes`, which neither moves nor ends during the call; libsystemd only reads.
        unsafe bytes.withUnsafeMutableBytes { raw in
            var start = 0
            let vectors = unsafe ends.map { end in
                defer { start = end }
                return unsafe iovec(iov_base: raw.baseAddress?.advanced(by: start), iov_len: end - start)
            }
            return unsafe sd_journal_sendv(vectors, CInt(vectors.count))
        }
    }
}

/// A stream for people, such as the standard error output: one line per record, the message first, then `key=value`.
public struct StreamDestination: LogDestination {
    private let descriptor: CInt

    /// Lines to a descriptor, which stays the caller's.
    public init(descriptor: CInt) { self.descriptor = descriptor }

    /// Writes the line, in pieces if the stream takes no more at once. `write`
    public func write(_ record: JournalRecord) throws(SystemCallError) {
        let line = Array((Self.line(record) + "\n").utf8)
        var start = 0
        while start < line.count {
            let rest = line[start...]
            // SAFETY: the buffer is valid during the call, which reads no more than its length.
            let (written, code) = unsafe rest.withUnsafeBytes { raw in
                let written = unsafe Glibc.write(descriptor, raw.baseAddress, raw.count)
                return (written, errno)
            }
            if written >= 0 { start += written } else if code != EINTR { throw .init(call: "write", code: code) }
        }
    }

    /// The record as one line. Fields that only programs read are left out; the fields of kvmjob lose their prefix.
    static func line(_ record: JournalRecord) -> String {
        var line = "\(identifier(record)): \(record.priority.name): \(record.message.onOneLine)"
        for field in record.fields where !hidden.contains(field.name) {
            let isOwn = field.name.hasPrefix(JournalFieldName.prefix)
            let name = isOwn ? String(field.name.dropFirst(JournalFieldName.prefix.count)) : field.name
            line += " \(name.lowercased())=\(quoted(field.value))"
        }
        return line
    }

    private static let hidden: Set<String> = [
        JournalFieldName.messageID, JournalFieldName.syslogIdentifier, JournalFieldName.codeFile,
        JournalFieldName.codeLine, JournalFieldName.codeFunction,
    ]

    private static func identifier(_ record: JournalRecord) -> String {
        record.fields.first { $0.name == JournalFieldName.syslogIdentifier }?.value.onOneLine ?? "kvmjob"
    }

    /// The value as it is, or in quotes if it could be mistaken for more than one field.
    private static func quoted(_ value: String) -> String {
        let isPlain = value.unicodeScalars.allSatisfy { !$0.isControl && $0 != " " && $0 != "\"" && $0 != "=" }
        if isPlain, !value.isEmpty { return value }
        var text = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case _ where scalar.isControl: text += "\\u{\(String(scalar.value, radix: 16))}"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}
