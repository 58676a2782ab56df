// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom
import Testing

@testable import JobProtocol

@Suite struct CodecTests {
    @Test(arguments: [1, 2, 3, 7, 64, .max / 2])
    func `every message survives the wire at any chunking`(chunk: Int) throws {
        let bytes = allMessages.flatMap { $0.encode() }
        let back = try frames(bytes, chunk: chunk).map { try Message(frame: $0) }
        #expect(back == allMessages)
        #expect(back.flatMap { $0.encode() } == bytes)
    }

    @Test(arguments: allMessages)
    func `a frame comes out whole wherever its bytes are split`(message: Message) throws {
        let (frame, bytes) = (message.frame, message.encode())
        let wrong = try (0..<bytes.count).filter { split in
            var reader = FrameReader(frameLimit: 65_536)
            reader.append(bytes[..<split])
            if try reader.next() != nil || reader.pendingBytes != split { return true }
            reader.append(bytes[split...])
            return try reader.next() != frame || reader.pendingBytes != 0
        }
        #expect(wrong.isEmpty)
    }

    @Test func `every type is covered by a message`() {
        #expect(Set(allMessages.map(\.frame.header.type)).isSuperset(of: FrameType.allCases.map(\.rawValue)))
    }

    @Test(arguments: allMessages)
    func `a payload cut short gives one error and never a trap`(message: Message) throws {
        let whole = message.frame
        for length in 0..<whole.payload.count {
            let cut = Frame(
                type: whole.header.type, flags: whole.header.flags, job: whole.header.job,
                payload: Array(whole.payload.prefix(length)))
            let decoded: Message
            do throws(WireError) { decoded = try Message(frame: cut) } catch { continue }
            #expect(decoded.frame == cut, "what decodes is a message of its own")
        }
    }

    @Test(arguments: allResults)
    func `a result keeps everything`(result: JobResult) {
        #expect(ResultReport(result).jobResult == result)
    }

    @Test func `a submission keeps the spec`() {
        #expect(Submit(everySpec, imageBytes: 1).spec(mode: .long64) == everySpec)
        #expect(Submit(mode: 1, imageBytes: 1).spec(mode: .real16) == JobSpec())
    }

    @Test(arguments: MeterRequest.allCases)
    func `a submission keeps each way of counting`(meter: MeterRequest) {
        var spec = JobSpec()
        spec.meter = meter
        #expect(Submit(spec, imageBytes: 1).spec(mode: .real16) == spec)
    }

    @Test func `the longest result fits in the least frame limit`() throws {
        var report = ResultReport(JobResult(outcome: .hostError(String(repeating: "x", count: 1000))))
        (report.meter, report.meterReason, report.steps) = (.bounded, String(repeating: "x", count: 1000), .max)
        (report.registers, report.system, report.touchedBytes) = (Registers(), SystemRegisters(), .max)
        (report.causeVector, report.causeErrorCode, report.causeAddress) = (14, .max, .max)
        let window = MemoryWindow(address: 0, bytes: [UInt8](repeating: 1, count: 4096))
        (report.code, report.stack) = (window, window)
        report.exitLog = (0..<100).map { ExitRecord(kind: .halt, rip: $0) }
        (report.fpu, report.digest) = (everyPostMortem.fpu, [UInt8](repeating: 6, count: 32))
        let frame = Message.result(job: 1, report).frame
        #expect(frame.payload.count == 3853)
        #expect(frame.header.length <= FrameHeader.smallestFrameLimit)
        guard case .result(job: 1, let back) = try Message(frame: frame) else {
            Issue.record("no RESULT")
            return
        }
        #expect(back.code?.bytes.count == PostMortem.codeLimit && back.stack?.bytes.count == PostMortem.stackLimit)
        #expect(back.exitLog?.map(\.rip) == Array(68..<100), "of a log that is too long the last exits are kept")
    }

    @Test func `text is cut at a whole character when it is too long`() throws {
        var hello = Hello(frameLimit: 4096, window: 1)
        hello.software = String(repeating: "é", count: 63) + "€€"
        guard case .hello(let back) = try Message(frame: Message.hello(hello).frame) else {
            Issue.record("no HELLO")
            return
        }
        #expect(back.software == String(repeating: "é", count: 63))
    }

    @Test func `a chunk splits into frames that the receiver takes`() {
        let chunk = StreamChunk(offset: 100, bytes: [UInt8](repeating: 7, count: 9000), isEnd: true)
        let parts = chunk.split(frameLimit: 4096)
        #expect(parts.map(\.offset) == [100, 4184, 8268])
        #expect(parts.map(\.isEnd) == [false, false, true])
        #expect(parts.flatMap(\.bytes) == chunk.bytes)
        #expect(StreamChunk(offset: 0, bytes: []).split(frameLimit: 4096).isEmpty)
    }

    @Test func `durations on the wire stop at what 63 bits hold`() {
        #expect(Duration(wholeNanoseconds: .max).wholeNanoseconds == UInt64(Int64.max))
        #expect(Duration(wholeNanoseconds: 1 << 62).wholeNanoseconds == 1 << 62)
        #expect(Duration.seconds(Int64.max).wholeNanoseconds == UInt64(Int64.max))
        #expect(Duration.seconds(-1).wholeNanoseconds == 0)
        #expect(Duration.nanoseconds(1_500_000_001).wholeNanoseconds == 1_500_000_001)
    }

    @Test func `every rule of the model has its code`() {
        #expect(Refusal.Rule.allCases.allSatisfy { ErrorCode($0).rawValue == $0.rawValue })
        #expect(Set(ErrorCode.allCases.map(\.name)).count == ErrorCode.allCases.count)
    }
}

@Suite struct MalformedFrameTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var code: ErrorCode
        var bytes: String
        var why: String
        var testDescription: String { "\(code.name): \(why)" }

        init(_ code: ErrorCode, _ bytes: String, _ why: String) {
            (self.code, self.bytes, self.why) = (code, bytes, why)
        }
    }

    @Test(arguments: [
        Case(.frameTooLong, "00010001 02 00 0000 00000000", "one byte above the limit, payload not awaited"),
        Case(.frameTooLong, "47455420 2f 20 4854 54502f31", "text"),
        Case(.frameTooLong, "16030100 c8 01 0000 c4030300", "TLS"),
        Case(.reservedNotZero, "00000008 02 00 0001 00000000", "reserved"),
        Case(.reservedNotZero, "00000008 02 01 0000 00000000", "END on PING"),
        Case(.reservedNotZero, "00000000 11 02 0000 00000001", "a flag that IMAGE does not have"),
        Case(.unknownType, "00000000 00 00 0000 00000000", "type 0"),
        Case(.unknownType, "00000000 7f 00 0000 00000000", "type 0x7f"),
        Case(.badJob, "00000008 02 00 0000 00000001", "PING with a job"),
        Case(.badJob, "00000000 13 00 0000 00000000", "CANCEL without a job"),
    ])
    func `a wrong header is an error as soon as its twelve bytes are there`(wrong: Case) {
        #expect(failure(wrong.bytes)?.code == wrong.code)
    }

    @Test(arguments: [
        Case(.payloadTruncated, "00000005 06 00 0000 00000001  0001 000000", "half a field header"),
        Case(.payloadTruncated, "00000009 06 00 0000 00000001  0001 00000004 000000", "half a value"),
        Case(.payloadTruncated, "0000000b 11 01 0000 00000001  00 00 0000 00000000000000", "half a data header"),
        Case(.fieldOrder, "00000014 04 00 0000 00000000  0001 00000001 01 0001 00000001 01 0002 00000000", "twice"),
        Case(.unknownCriticalField, "00000010 06 00 0000 00000001  0001 00000004 00000001 8001 00000000", "critical"),
        Case(.fieldSize, "00000009 06 00 0000 00000001  0001 00000003 000001", "three bytes for four"),
        Case(.fieldSize, "00000007 02 00 0000 00000000  00000000000000", "seven bytes of PING"),
        Case(.fieldSize, "00000001 13 00 0000 00000001  00", "a payload of CANCEL"),
        Case(.badText, "0000000f 05 00 0000 00000000  0001 00000002 0001 0007 00000001 ff", "0xff"),
        Case(.badValue, "0000000a 06 00 0000 00000001  0001 00000004 00000000", "no credit"),
        Case(.badValue, "0000000a 06 00 0000 00000001  0001 00000004 80000000", "2^31 of credit"),
        Case(.badValue, "0000000c 11 00 0000 00000001  00 00 0000 0000000000000000", "neither bytes nor END"),
        Case(.badValue, "0000000d 22 00 0000 00000001  06 00 0000 0000000000000000 00", "channel 6"),
        Case(.badValue, "0000000d 11 00 0000 00000001  00 01 0000 0000000000000000 00", "vcpu 1"),
        Case(.reservedNotZero, "0000000d 11 00 0000 00000001  00 00 0100 0000000000000000 00", "data reserved"),
        Case(.fieldMissing, "00000000 06 00 0000 00000001", "no credit field"),
        Case(.fieldMissing, "00000007 23 00 0000 00000001  0001 00000001 02", "exited without a code"),
    ])
    func `a wrong payload has the error of the specification`(wrong: Case) throws {
        let error = try #require(failure(wrong.bytes))
        #expect(error.code == wrong.code)
        #expect(error.job == 0)
        #expect(!error.message.isEmpty)
    }

    @Test func `a submission with an unknown critical field is a refusal only when the rest is in order`() throws {
        let unknown = "ffff 00000000"
        let good = "8002 00000001 01  8003 00000008 0000000000000001"
        let refused = try #require(failure("0000001b 10 00 0000 00000005 \(good) \(unknown)"))
        #expect(refused.code == .unknownCriticalField && refused.job == 5 && refused.fieldTag == 0xFFFF)
        let fatal = try #require(failure("0000000d 10 00 0000 00000005 8002 00000001 01 \(unknown)"))
        #expect(fatal.code == .fieldMissing && fatal.job == 0)
    }

    @Test func `a reader that failed stays failed and keeps nothing`() {
        var reader = FrameReader(frameLimit: 4096)
        reader.append(hex("00001001 02 00 0000 00000000"))
        #expect(throws: WireError.self) { try reader.next() }
        reader.append(Message.ping([UInt8](repeating: 0, count: 8)).encode())
        #expect(throws: WireError.self) { try reader.next() }
        #expect(reader.pendingBytes == 0)
    }

    @Test func `another major version may have other fields behind the first three`() throws {
        let bytes = "0001 00000002 0200  0002 00000004 00001000  8004 00000000"
        #expect(failure("00000018 01 00 0000 00000000 \(bytes)") == nil)
    }

    @Test func `random frames never trap and what decodes has one encoding`() throws {
        var random = SplitMix64(state: 1)
        var (decoded, unequal) = (0, 0)
        let samples = allMessages.map(\.frame)
        for round in 0..<100_000 {
            let sample = samples[Int(random.next() % UInt64(samples.count))]
            var (type, payload) = (sample.header.type, Array(sample.payload))
            for _ in 0..<random.next() % 4 where !payload.isEmpty {
                payload[Int(random.next() % UInt64(payload.count))] = UInt8(random.next() % 256)
            }
            if round.isMultiple(of: 3) { payload = payload.dropLast(Int(random.next() % 9)) }
            if round.isMultiple(of: 5) { type = UInt8(random.next() % 256) }
            let frame = Frame(type: type, flags: sample.header.flags, job: sample.header.job, payload: payload)
            guard let message = try? Message(frame: frame) else { continue }
            decoded += 1
            if try Message(frame: message.frame) != message { unequal += 1 }
        }
        #expect(unequal == 0)
        #expect(decoded > 1000)
    }

    @Test func `random records never trap and never pile up`() {
        var random = SplitMix64(state: 5)
        let samples = Vectors.records.filter { $0.name != "memory-most" }.map { hex($0.hex) }
        var broken = 0
        for _ in 0..<20_000 {
            var (trace, memory) = (RecordDecoder<TraceRecord>(), RecordDecoder<MemoryRecord>())
            var bytes: [UInt8] = [1]
            for _ in 0..<3 { bytes = samples[Int(random.next() % UInt64(samples.count))] + bytes }
            for _ in 0..<random.next() % 4 {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            let found = trace.feed(bytes)
            #expect(found.flatMap(\.encoded).count + trace.pendingBytes <= bytes.count)
            #expect(trace.pendingBytes < 20 + TraceStep.codeLimit + 9 * TraceStep.changeLimit)
            _ = memory.feed(bytes)
            #expect(memory.pendingBytes < MemoryRecord.headerBytes + MemoryRecord.limit)
            broken += trace.isBroken ? 1 : 0
        }
        #expect(broken > 1000 && broken < 19_000)
    }

    @Test func `random bytes never trap the reader`() {
        var random = SplitMix64(state: 2)
        for _ in 0..<20_000 {
            var reader = FrameReader(frameLimit: 4096)
            reader.append((0..<64).map { _ in UInt8(truncatingIfNeeded: random.next() >> (random.next() % 60)) })
            while let frame = try? reader.next() { _ = try? Message(frame: frame) }
            #expect(reader.pendingBytes <= 64)
        }
    }
}
