// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import Glibc
import Testing

@testable import Systemd

struct LogSinkTests {
    @Test func `records arrive in order and flush waits for them`() {
        let destination = RecordingDestination()
        let sink = LogSink(identifier: "test", destination: destination)
        for index in 0..<1000 { sink.submit(.numbered(index)) }
        #expect(sink.flush(within: .seconds(60)))
        #expect(destination.written == (0..<1000).map { "\($0)" })
    }

    @Test func `a full queue drops, counts and later tells, and submit does not wait`() {
        let destination = RecordingDestination()
        let gate = destination.blockNextWrite()
        let sink = LogSink(identifier: "test", destination: destination, capacity: 4)
        sink.submit(.numbered(0))
        gate.entered.wait()
        for index in 1..<10 { sink.submit(.numbered(index)) }
        gate.leave.signal()
        #expect(sink.flush(within: .seconds(60)))
        // Capacity 4 counts the one being written; 4 to 9 found no room.
        let lost = "6 log records were dropped: the log was too slow"
        #expect(destination.written.filter { $0 != lost } == ["0", "1", "2", "3"])
        #expect(destination.written.contains(lost))
        sink.submit(.numbered(10))
        #expect(sink.flush(within: .seconds(60)))
        #expect(destination.written.last == "10")
    }

    @Test func `flush gives up when its time is over`() {
        let destination = RecordingDestination()
        let gate = destination.blockNextWrite()
        let sink = LogSink(identifier: "test", destination: destination)
        sink.submit(.numbered(0))
        gate.entered.wait()
        #expect(sink.flush(within: .milliseconds(1)) == false)
        gate.leave.signal()
        #expect(sink.flush(within: .seconds(60)))
    }

    @Test func `what was dropped or never written can be told elsewhere`() {
        let (stuck, other) = (RecordingDestination(), RecordingDestination())
        let gate = stuck.blockNextWrite()
        let sink = LogSink(identifier: "test", destination: stuck, capacity: 4)
        sink.submit(.numbered(0))
        gate.entered.wait()
        for index in 1..<10 { sink.submit(.numbered(index)) }
        #expect(sink.flush(within: .milliseconds(1)) == false)
        sink.reportUnwritten(to: other)
        #expect(other.written == ["10 log records were dropped: the log was too slow"])
        gate.leave.signal()
        #expect(sink.flush(within: .seconds(60)))
        sink.reportUnwritten(to: other)
        #expect(other.written.count == 1, "nothing is left to tell")
    }

    @Test func `records that the destination refused are counted and told once it works again`() {
        let destination = RecordingDestination()
        destination.isBroken = true
        let sink = LogSink(identifier: "test", destination: destination)
        for index in 0..<3 { sink.submit(.numbered(index)) }
        #expect(sink.flush(within: .seconds(60)))
        #expect(destination.written.isEmpty)
        destination.isBroken = false
        #expect(sink.flush(within: .seconds(60)))
        #expect(destination.written == ["3 log records were dropped: the log was too slow"])
    }

    @Test func `a closed stream is an error and no signal kills the process`() async {
        await #expect(processExitsWith: .success) {
            signal(SIGPIPE, SIG_IGN)
            let (ours, theirs) = try UnixSocket.pair()
            close(theirs)
            #expect(throws: SystemCallError(call: "write", code: EPIPE)) {
                try StreamDestination(descriptor: ours).write(.numbered(1))
            }
        }
    }

    @Test func `a stream gets one line per record`() throws {
        let (ours, theirs) = try UnixSocket.pair()
        defer { close(theirs) }
        try StreamDestination(descriptor: ours).write(.numbered(1))
        close(ours)
        #expect(UnixSocket.receive(theirs) == "kvmjob: info: 1\n")
    }

    @Test func `JOURNAL_STREAM counts only for the descriptor that it names`() throws {
        let (ours, theirs) = try UnixSocket.pair()
        defer {
            close(ours)
            close(theirs)
        }
        var status = stat()
        try #require(fstat(ours, &status) == 0)
        let stream = "\(status.st_dev):\(status.st_ino)"
        #expect(LogTarget.names(stream, ours))
        #expect(!LogTarget.names(stream, theirs))
        #expect(!LogTarget.names("nonsense", ours))
    }
}

extension JournalRecord {
    static func numbered(_ number: Int) -> JournalRecord {
        JournalRecord(priority: .info, message: "\(number)", fields: [])
    }
}

/// Keeps what it is given, blocks on demand and fails on demand.
private final class RecordingDestination: LogDestination, @unchecked Sendable {
    struct Gate: Sendable {
        let entered = DispatchSemaphore(value: 0)
        let leave = DispatchSemaphore(value: 0)
    }

    private let lock = DispatchQueue(label: "recording")
    private var messages: [String] = []
    private var gate: Gate?
    private var broken = false

    var written: [String] { lock.sync { messages } }
    var isBroken: Bool {
        get { lock.sync { broken } }
        set { lock.sync { broken = newValue } }
    }

    func blockNextWrite() -> Gate {
        lock.sync {
            let new = Gate()
            gate = new
            return new
        }
    }

    func write(_ record: JournalRecord) throws(SystemCallError) {
        let gate = lock.sync {
            defer { self.gate = nil }
            return self.gate
        }
        gate?.entered.signal()
        gate?.leave.wait()
        if isBroken { throw SystemCallError(call: "test", code: EIO) }
        lock.sync { messages.append(record.message) }
    }
}
