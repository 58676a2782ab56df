// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// One record of the log: what the journal stores as fields and a terminal shows as one line.
public struct JournalRecord: Sendable, Hashable {
    /// The most fields that one record keeps beside its message and priority; further ones are left out.
    public static let fieldLimit = 64
    /// The longest value that is kept, in bytes of UTF-8; the rest is cut off.
    public static let valueBytes = 4096

    /// The syslog levels in use, the journal's `PRIORITY`.
    public enum Priority: UInt8, Sendable, Hashable {
        /// The worker cannot go on.
        case critical = 2
        /// kvmjob's fault, or the host's.
        case error
        /// Something failed that may be as its owner wanted it, such as a job.
        case warning
        /// Unusual, but in order.
        case notice
        /// The normal run of things.
        case info
        /// For people who work on kvmjob.
        case debug

        /// The word in front of a line on the standard error output.
        var name: String {
            switch self {
            case .critical: "critical"
            case .error: "error"
            case .warning: "warning"
            case .notice: "notice"
            case .info: "info"
            case .debug: "debug"
            }
        }
    }

    /// A field's name and value, both within bounds.
    public struct Field: Sendable, Hashable {
        /// The name as the journal takes it: see ``JournalFieldName``.
        public let name: String
        /// The text, at most ``JournalRecord/valueBytes`` long. May have several lines.
        public let value: String

        /// A field; `value` is cut to ``JournalRecord/valueBytes``.
        init(name: String, value: String) {
            self.name = name
            self.value = value.cut(toUTF8: JournalRecord.valueBytes)
        }
    }

    /// How bad it is.
    public let priority: Priority
    /// The sentence for people, at most ``valueBytes`` long.
    public let message: String
    /// The rest, in the order in which it is written: at most ``fieldLimit``.
    public let fields: [Field]

    /// A record; what goes beyond the limits is cut off.
    init(priority: Priority, message: String, fields: [Field]) {
        self.priority = priority
        self.message = message.cut(toUTF8: Self.valueBytes)
        self.fields = Array(fields.prefix(Self.fieldLimit))
    }

    /// What `identifier` says about its own lost records.
    static func dropped(_ count: UInt64, identifier: String) -> JournalRecord {
        JournalRecord(
            priority: .warning, message: "\(count) log records were dropped: the log was too slow",
            fields: [
                Field(name: JournalFieldName.messageID, value: EventID.recordsDropped.messageID),
                Field(name: JournalFieldName.syslogIdentifier, value: identifier),
                Field(name: "KVMJOB_DROPPED", value: "\(count)"),
            ])
    }
}

/// The names of journal fields. journald drops a field in silence if its name has other characters than `A-Z`, `0-9`
/// and `_`, is longer than 64, or starts with a digit or an underscore.
enum JournalFieldName {
    /// The longest name that journald keeps.
    static let bytes = 64
    /// In front of every field of kvmjob's own.
    static let prefix = "KVMJOB_"

    static let message = "MESSAGE"
    static let messageID = "MESSAGE_ID"
    static let priority = "PRIORITY"
    static let syslogIdentifier = "SYSLOG_IDENTIFIER"
    static let codeFile = "CODE_FILE"
    static let codeLine = "CODE_LINE"
    static let codeFunction = "CODE_FUNC"
    /// The process that a record is about; a privileged journald adds what it knows about it.
    static let objectPID = "OBJECT_PID"

    /// Fields with a meaning outside kvmjob that a metadata key may name. All others get ``prefix``, so that no key can
    /// pass for the message or the priority.
    private static let foreign: Set<String> = [messageID, objectPID, "DOCUMENTATION", "ERRNO"]

    /// The field for a metadata key: `queue-usec`, `queueUsec` and `KVMJOB_QUEUE_USEC` are `KVMJOB_QUEUE_USEC`.
    static func field(forKey key: String) -> String {
        var name = ""
        var wasLower = false
        for scalar in key.unicodeScalars {
            if wasLower, ("A"..."Z").contains(scalar) { name.append("_") }
            wasLower = ("a"..."z").contains(scalar)
            let isWord = wasLower || ("A"..."Z").contains(scalar) || ("0"..."9").contains(scalar)
            name.append(isWord ? Character(scalar) : "_")
        }
        name = name.uppercased()
        if foreign.contains(name) { return name }
        return (name.hasPrefix(prefix) ? name : prefix + name).cut(toUTF8: bytes)
    }
}
