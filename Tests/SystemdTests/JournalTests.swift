// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Logging
import Testing

@testable import Systemd

/// Against a journald that Tests/EndToEnd/journal.sh started for these tests alone.
@Suite(
    .enabled(
        if: ProcessInfo.processInfo.environment["KVMJOB_TEST_JOURNAL"] != nil,
        "needs a journald of its own: run Tests/EndToEnd/journal.sh as root"))
struct JournalTests {
    @Test func `a log line is found in the journal by its fields`() throws {
        let sink = LogSink(identifier: "kvmjobd", destination: LogTarget.journal.destination())
        let logger = Logger(label: "test") { _ in WorkerLogHandler(sink: sink) }
        let id = "j\(UInt64.random(in: 0...UInt64.max))"
        logger.warning("two\nlines", metadata: ["event": "job-finished", "id": "\(id)"])
        #expect(sink.flush(within: .seconds(60)))

        let entry = try #require(try entries("KVMJOB_ID=\(id)").first)
        #expect(entry["MESSAGE"] as? String == "two\nlines")
        #expect(entry["PRIORITY"] as? String == "4")
        #expect(entry["SYSLOG_IDENTIFIER"] as? String == "kvmjobd")
        #expect(entry["MESSAGE_ID"] as? String == EventID.jobFinished.messageID)
        #expect(entry["CODE_FILE"] as? String == "SystemdTests/JournalTests.swift")
        #expect(entry["_PID"] as? String == "\(getpid())")
    }

    @Test func `a record with every field at its limit arrives whole`() throws {
        let id = "j\(UInt64.random(in: 0...UInt64.max))"
        let long = String(repeating: "x", count: JournalRecord.valueBytes)
        let fields = (1..<JournalRecord.fieldLimit).map { JournalRecord.Field(name: "KVMJOB_\($0)", value: long) }
        let record = JournalRecord(
            priority: .info, message: long, fields: [.init(name: "KVMJOB_ID", value: id)] + fields)
        try JournalDestination().write(record)

        let entry = try #require(try entries("KVMJOB_ID=\(id)").first)
        #expect(entry["MESSAGE"] as? String == long)
        #expect((1..<JournalRecord.fieldLimit).allSatisfy { entry["KVMJOB_\($0)"] as? String == long })
    }

    @Test func `ten thousand records in a row are all kept`() throws {
        let sink = LogSink(identifier: "kvmjobd", destination: JournalDestination(), capacity: 10_000)
        let batch = "b\(UInt64.random(in: 0...UInt64.max))"
        for _ in 0..<10_000 {
            sink.submit(
                JournalRecord(priority: .info, message: "m", fields: [.init(name: "KVMJOB_BATCH", value: batch)]))
        }
        #expect(sink.flush(within: .seconds(60)))
        #expect(try entries("KVMJOB_BATCH=\(batch)").count == 10_000)
    }

    private func entries(_ match: String) throws -> [[String: Any]] {
        _ = try run("journalctl", "--sync")
        // --all: journalctl leaves out values that it finds too long.
        let text = try run("journalctl", "--quiet", "--no-pager", "--all", "--output=json", match)
        return try text.split(separator: "\n").map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
    }

    private func run(_ arguments: String...) throws -> String {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.standardOutput = output
        try process.run()
        let bytes = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return String(decoding: bytes, as: UTF8.self)
    }
}
