// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc

/// Where log records end up. Called by one thread at a time; may block.
public protocol LogDestination: Sendable {
    /// Writes one record, wholly or not at all.
    func write(_ record: JournalRecord) throws(SystemCallError)
}

/// The journal, with all fields, by its native protocol. A missing journald is no error: the record is then lost.
///
/// The socket is opened once. It is the service manager's, so it outlives a restart of journald; after one of
/// `systemd-journald.socket` records are lost, as is then what services print.
public struct JournalDestination: LogDestination {
    /// The socket where journald takes records.
    static let socketPath = "/run/systemd/journal/socket"
    /// What a value is cut to in a record that is too long for a datagram here, in bytes of UTF-8.
    static let shortValueBytes = 1024

    private let socket: DatagramSocket?

    /// The system's journal.
    public init() { socket = try? DatagramSocket(connectedTo: Self.socketPath) }

    /// Sends one datagram. If that would be too long, values are cut.
    public func write(_ record: JournalRecord) throws(SystemCallError) {
        guard let socket else { return }
        do throws(SystemCallError) {
            try socket.send(Self.datagram(record, valueBytes: JournalRecord.valueBytes))
        } catch {
            guard error.code == EMSGSIZE else { throw error }
            try socket.send(Self.datagram(record, valueBytes: Self.shortValueBytes))
        }
    }

    /// The record as journald reads it: `NAME=value` and a newline; or, of values with newlines, the name, a newline, the length as
    /// 64 bits with the lowest byte first, the value and a newline.
    static func datagram(_ record: JournalRecord, valueBytes: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        func append(_ name: String, _ value: String) {
            let value = value.cut(toUTF8: valueBytes).utf8
            bytes.append(contentsOf: name.utf8)
            if value.contains(UInt8(ascii: "\n")) {
                bytes.append(UInt8(ascii: "\n"))
                for shift in stride(from: 0, to: UInt64.bitWidth, by: 8) {
                    bytes.append(UInt8(truncatingIfNeeded: UInt64(value.count) >> UInt64(shift)))
                }
            } else {
                bytes.append(UInt8(ascii: "="))
            }
            bytes.append(contentsOf: value)
            bytes.append(UInt8(ascii: "\n"))
        }
        append(JournalFieldName.message, record.message)
        append(JournalFieldName.priority, "\(record.priority.rawValue)")
        for field in record.fields { append(field.name, field.value) }
        return bytes
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
