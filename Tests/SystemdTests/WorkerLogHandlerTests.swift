// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Logging
import Testing

@testable import Systemd

struct WorkerLogHandlerTests {
    private let sink = LogSink(identifier: "kvmjobd", destination: StreamDestination(descriptor: -1))

    @Test func `an event has all fields that the journal and people look for`() {
        let handler = WorkerLogHandler(sink: sink)
        let event = LogEvent(
            level: .info, message: "job 7 finished",
            metadata: ["event": "job-finished", "id": "7", "object-pid": "\(99)"], source: nil,
            file: "Worker/JobLog.swift", function: "log()", line: 3)
        let record = handler.record(of: event)
        #expect(record.priority == .info)
        #expect(record.message == "job 7 finished")
        #expect(
            record.fields.map { "\($0.name)=\($0.value)" } == [
                "SYSLOG_IDENTIFIER=kvmjobd", "CODE_FILE=Worker/JobLog.swift", "CODE_LINE=3", "CODE_FUNC=log()",
                "MESSAGE_ID=\(EventID.jobFinished.messageID)", "KVMJOB_EVENT=job-finished", "KVMJOB_ID=7",
                "OBJECT_PID=99",
            ])
    }

    @Test func `a whole path never reaches the log`() {
        let event = LogEvent(
            level: .info, message: "", metadata: nil, source: nil, file: "/home/me/build/Worker.swift", function: "f",
            line: 1)
        let fields = WorkerLogHandler(sink: sink).record(of: event).fields
        #expect(fields.contains { $0.name == "CODE_FILE" && $0.value == "Worker.swift" })
    }

    @Test func `the nearest metadata win`() {
        var handler = WorkerLogHandler(sink: sink, metadataProvider: .init { ["a": "provider", "b": "provider"] })
        handler[metadataKey: "a"] = "logger"
        handler[metadataKey: "c"] = "logger"
        let event = LogEvent(
            level: .info, message: "", metadata: ["b": "event"], source: nil, file: "F", function: "f", line: 1)
        let own = handler.record(of: event).fields.filter { $0.name.hasPrefix("KVMJOB_") }
        #expect(own.map { "\($0.name)=\($0.value)" } == ["KVMJOB_A=provider", "KVMJOB_B=event", "KVMJOB_C=logger"])
    }

    @Test(arguments: zip(Logger.Level.allCases, [7, 7, 6, 5, 4, 3, 2] as [UInt8]))
    func `levels are syslog priorities`(_ level: Logger.Level, _ priority: UInt8) {
        #expect(JournalRecord.Priority(level).rawValue == priority)
    }
}
