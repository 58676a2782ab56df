// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import Systemd

struct JournalRecordTests {
    @Test(arguments: [
        ("id", "KVMJOB_ID"), ("queue-usec", "KVMJOB_QUEUE_USEC"), ("queueUsec", "KVMJOB_QUEUE_USEC"),
        ("KVMJOB_WALL_USEC", "KVMJOB_WALL_USEC"), ("object-pid", "OBJECT_PID"), ("message-id", "MESSAGE_ID"),
        ("priority", "KVMJOB_PRIORITY"), ("MESSAGE", "KVMJOB_MESSAGE"), ("_PID", "KVMJOB__PID"),
        ("schlüssel.1", "KVMJOB_SCHL_SSEL_1"), ("", "KVMJOB_"),
    ])
    func `a metadata key becomes a field name that journald keeps`(_ key: String, _ field: String) {
        #expect(JournalFieldName.field(forKey: key) == field)
    }

    @Test func `a field name has at most 64 bytes`() {
        let name = JournalFieldName.field(forKey: String(repeating: "k", count: 100))
        #expect(name.utf8.count == JournalFieldName.bytes)
    }

    @Test(arguments: [("aé", 2, "a"), ("aé", 3, "aé"), ("😀", 3, ""), ("ab", 0, ""), ("a😀b", 5, "a😀")])
    func `text is cut between characters`(_ text: String, _ limit: Int, _ cut: String) {
        #expect(text.cut(toUTF8: limit) == cut)
    }

    @Test func `values, messages and the number of fields are bounded`() {
        let long = String(repeating: "x", count: JournalRecord.valueBytes + 1)
        let fields = (0..<100).map { JournalRecord.Field(name: "KVMJOB_\($0)", value: long) }
        let record = JournalRecord(priority: .info, message: long, fields: fields)
        #expect(record.message.utf8.count == JournalRecord.valueBytes)
        #expect(record.fields.count == JournalRecord.fieldLimit)
        #expect(record.fields.allSatisfy { $0.value.utf8.count == JournalRecord.valueBytes })
    }

    @Test func `a line for people shows own fields by short name and hides those for programs`() {
        let record = JournalRecord(
            priority: .warning, message: "job 7 failed\n\u{1b}[31m",
            fields: [
                .init(name: "SYSLOG_IDENTIFIER", value: "kvmjobd"), .init(name: "MESSAGE_ID", value: "f5"),
                .init(name: "CODE_FILE", value: "Worker/W.swift"), .init(name: "KVMJOB_ID", value: "7"),
                .init(name: "KVMJOB_LABEL", value: "a \"b\"\nc\\\u{1b}"), .init(name: "OBJECT_PID", value: "12"),
                .init(name: "KVMJOB_EMPTY", value: ""),
            ])
        #expect(
            StreamDestination.line(record)
                == #"kvmjobd: warning: job 7 failed  [31m id=7 label="a \"b\"\nc\\\u{1b}" object_pid=12 empty="""#)
    }

    @Test func `every kind of event has an id of its own in the journal's form`() {
        let ids = EventID.allCases.map(\.messageID)
        #expect(Set(ids).count == EventID.allCases.count)
        #expect(ids.allSatisfy { $0.count == 32 && $0.allSatisfy { "0123456789abcdef".contains($0) } })
    }
}
