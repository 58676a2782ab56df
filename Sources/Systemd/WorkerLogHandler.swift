// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import Logging

/// swift-log's way into a ``LogSink``. Metadata become journal fields with the prefix `KVMJOB_`: `id` is `KVMJOB_ID`.
///
/// Three keys are special: `event` with the name of an ``EventID`` gives the record that event's `MESSAGE_ID`;
/// `message-id` gives it any other; `object-pid` is the process that the record is about.
public struct WorkerLogHandler: LogHandler {
    /// The metadata key for the kind of event.
    public static let eventKey = "event"

    /// What every record of this logger carries.
    public var metadata: Logger.Metadata = [:]
    /// More of it, asked for anew for each record.
    public var metadataProvider: Logger.MetadataProvider?
    /// Records below it are not made.
    public var logLevel: Logger.Level
    private let sink: LogSink

    /// A handler for one logger.
    public init(sink: LogSink, logLevel: Logger.Level = .info, metadataProvider: Logger.MetadataProvider? = nil) {
        self.sink = sink
        self.logLevel = logLevel
        self.metadataProvider = metadataProvider
    }

    /// The value of one key of ``metadata``.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Makes a record and leaves it to the sink. Does not block.
    public func log(event: LogEvent) {
        sink.submit(record(of: event))
    }

    func record(of event: LogEvent) -> JournalRecord {
        typealias Field = JournalRecord.Field
        var fields = [
            Field(name: JournalFieldName.syslogIdentifier, value: sink.identifier),
            Field(name: JournalFieldName.codeFile, value: Self.fileID(event.file)),
            Field(name: JournalFieldName.codeLine, value: "\(event.line)"),
            Field(name: JournalFieldName.codeFunction, value: event.function),
        ]
        for (key, value) in merged(event).sorted(by: { $0.key < $1.key }) {
            if key == Self.eventKey, let id = EventID(rawValue: "\(value)") {
                fields.append(Field(name: JournalFieldName.messageID, value: id.messageID))
            }
            fields.append(Field(name: JournalFieldName.field(forKey: key), value: "\(value)"))
        }
        if let error = event.error { fields.append(Field(name: "KVMJOB_ERROR", value: "\(error)")) }
        return JournalRecord(priority: .init(event.level), message: "\(event.message)", fields: fields)
    }

    /// The nearest wins: the event's own, then the provider's, then the logger's.
    private func merged(_ event: LogEvent) -> Logger.Metadata {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { _, nearer in nearer } }
        if let own = event.metadata { all.merge(own) { _, nearer in nearer } }
        return all
    }

    /// `#fileID` is "Module/File.swift" already. A caller that passed a whole path must not show where the build ran.
    private static func fileID(_ file: String) -> String {
        guard file.hasPrefix("/") else { return file }
        return file.split(separator: "/").last.map(String.init) ?? ""
    }
}

extension JournalRecord.Priority {
    init(_ level: Logger.Level) {
        switch level {
        case .trace, .debug: self = .debug
        case .info: self = .info
        case .notice: self = .notice
        case .warning: self = .warning
        case .error: self = .error
        case .critical: self = .critical
        }
    }
}
