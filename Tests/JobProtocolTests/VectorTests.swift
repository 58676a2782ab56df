// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobProtocol

private let chunkings = [1, 2, 3, 7, 64, .max / 2]

@Suite struct VectorTests {
    @Test func `the vectors are there`() {
        #expect(Vectors.frames.count > 50)
        #expect(Vectors.bad.count > 200)
        #expect(Vectors.transcripts.count > 50)
        #expect(Vectors.records.count > 30)
    }

    @Test(arguments: Vectors.frames)
    func `a frame that is right decodes to what the vector says and encodes back`(vector: FrameVector) throws {
        let frame = try #require(try frames(hex(vector.hex), chunk: 64).first)
        guard case .object(let expected)? = vector.decoded, expected["refused"] != nil else {
            let message = try Message(frame: frame)
            #expect(message.vectorJSON == vector.decoded ?? .null)
            #expect(message.encode() == hex(vector.canonical ?? vector.hex))
            return
        }
        let error = #expect(throws: WireError.self) { try Message(frame: frame) }
        #expect(expected["refused"] == (error?.code.name).map { .string($0) })
        #expect(expected["job"] == .number(UInt64(error?.job ?? 0)))
        #expect(expected["field_tag"] == .number(UInt64(error?.fieldTag ?? 0)))
    }

    @Test(arguments: chunkings)
    func `all frames in one stream decode at any chunking`(chunk: Int) throws {
        let bytes = Vectors.frames.flatMap { hex($0.hex) }
        let together = try frames(bytes, chunk: chunk)
        #expect(together.flatMap { $0.encode() } == bytes)
        #expect(together.count == Vectors.frames.count)
    }

    @Test(arguments: Vectors.bad, chunkings)
    func `a frame that is wrong gives its one error at any chunking`(vector: FrameVector, chunk: Int) throws {
        let bytes = hex(vector.hex)
        let code = try #require(ErrorCode.allCases.first { $0.name == vector.error })
        var reader = FrameReader(frameLimit: vector.frameLimit ?? 0)
        let report = try sessionReport(vector) { receive, framingFailed in
            for start in stride(from: 0, to: bytes.count, by: min(chunk, bytes.count)) {
                reader.append(bytes[start..<min(bytes.count, start + min(chunk, bytes.count))])
                do throws(WireError) {
                    while let frame = try reader.next() { receive(frame) }
                } catch {
                    #expect(vector.level == .header)
                    framingFailed(error)
                    return
                }
            }
        }
        #expect(report.0 == vector.job)
        #expect(report.1.knownCode == code)
        if let tag = vector.fieldTag { #expect(report.1.fieldTag == tag) }
    }

    /// The first ERROR that a session of the vector's receiver sends.
    private func sessionReport(
        _ vector: FrameVector, _ feed: ((Frame) -> Void, (WireError) -> Void) throws -> Void
    ) throws -> (UInt32, ErrorReport) {
        var messages: [Message] = []
        if vector.to == "worker" {
            var session = ServerSession(terms: .test)
            if vector.afterHello == true {
                _ = session.receive(Message.hello(Hello(frameLimit: 4096, window: 1)).frame)
            }
            var actions: [ServerAction] = []
            try feed({ actions += session.receive($0) }, { actions += session.framingFailed($0) })
            messages = try sent(actions)
        } else {
            var session = ClientSession(software: "test")
            if vector.afterHello == true { _ = session.receive(Message.hello(WorkerTerms.test.hello).frame) }
            var actions: [ClientAction] = []
            try feed({ actions += session.receive($0) }, { actions += session.framingFailed($0) })
            messages = try sent(actions)
        }
        guard case .error(let job, let report)? = messages.first else {
            Issue.record("no ERROR but \(messages)")
            return (.max, ErrorReport(code: 0))
        }
        return (job, report)
    }

    @Test(arguments: Vectors.records, chunkings)
    func `the records of a stream are found at any chunking`(vector: RecordVector, chunk: Int) throws {
        switch OutputChannel(rawValue: vector.channel) {
        case .memory: check(vector, chunk, RecordDecoder<MemoryRecord>(), \.vectorJSON, \.encoded)
        case .trace: check(vector, chunk, RecordDecoder<TraceRecord>(), \.vectorJSON, \.encoded)
        case .console, .standardError, .portWrites, nil: Issue.record("channel \(vector.channel) has no records here")
        }
    }

    private func check<Record>(
        _ vector: RecordVector, _ chunk: Int, _ decoder: RecordDecoder<Record>, _ json: (Record) -> JSON,
        _ encode: (Record) -> [UInt8]
    ) {
        var (decoder, records, bytes) = (decoder, [Record](), hex(vector.hex)[...])
        while !bytes.isEmpty {
            records += decoder.feed(bytes.prefix(chunk))
            bytes = bytes.dropFirst(chunk)
        }
        #expect(records.map(json) == vector.records)
        #expect(decoder.isBroken == (vector.end == .broken))
        #expect((decoder.pendingBytes > 0) == (vector.end == .cut))
        if vector.end == .whole { #expect(records.flatMap(encode) == hex(vector.canonical ?? vector.hex)) }
    }

    @Test(arguments: Vectors.bad.filter { $0.level == .header })
    func `a wrong header is an error at its twelfth byte and not before`(vector: FrameVector) throws {
        let header = hex(vector.hex).prefix(FrameHeader.size)
        var reader = FrameReader(frameLimit: vector.frameLimit ?? 0)
        reader.append(header.dropLast())
        #expect(try reader.next() == nil)
        reader.append(header.suffix(1))
        #expect(throws: WireError.self) { try reader.next() }
    }

    @Test(arguments: Vectors.transcripts.filter { $0.isFor(.worker) }, chunkings)
    func `the worker's session plays its part of a transcript`(transcript: Transcript, chunk: Int) throws {
        var play = WorkerPlay(transcript, chunk: chunk)
        try play.run()
    }

    @Test(arguments: Vectors.transcripts.filter { $0.isFor(.client) }, chunkings)
    func `the client's session plays its part of a transcript`(transcript: Transcript, chunk: Int) throws {
        var play = ClientPlay(transcript, chunk: chunk)
        try play.run()
    }
}

extension Transcript {
    /// Whether this side does nothing wrong in the transcript, so that a session can play it.
    func isFor(_ side: Step.Sender) -> Bool {
        guard case .error(_, let step) = expect else { return true }
        return steps[step].from != side
    }

    /// The step at which the other side goes wrong, and the error.
    var failure: (step: Int, code: ErrorCode)? {
        guard case .error(let name, let step) = expect else { return nil }
        return ErrorCode.allCases.first { $0.name == name }.map { (step, $0) }
    }
}
