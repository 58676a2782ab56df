// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import ArgumentParser
import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct InspectionOptionsTests {
    private func spec(_ arguments: String...) throws -> JobSpec {
        try SubmitCommand.parse(["a"] + arguments).submission(console: .standard).spec
    }

    @Test func `the worker is asked for what is shown, and for no more`() throws {
        #expect(try spec().report == [] && !spec().isTraced && spec().dumps.isEmpty)
        #expect(try spec("--registers").report == [.exits, .code, .stack])
        #expect(try spec("--json").report == [.exits, .code, .stack])
        #expect(try spec("--fpu").report == .fpu)
        #expect(try spec("--json", "--fpu").report == [.exits, .code, .stack, .fpu])
        #expect(try spec("--trace").isTraced)
    }

    @Test func `windows are asked for in their order, and the core's behind them`() throws {
        let windows = try spec("--dump", "0x7c00:512", "--dump", "4096:1KiB", "--memory", "2MiB", "--core", "/tmp/c")
            .dumps
        #expect(
            windows == [
                MemoryRange(address: 0x7C00, count: 512), MemoryRange(address: 4096, count: 1024),
                MemoryRange(address: 0, count: 2 << 20),
            ])
        let presentation = try SubmitCommand.parse(["a", "--dump", "1:2", "--core", "/tmp/c"]).presentation
        #expect(presentation.inspection.dumps == [MemoryRange(address: 1, count: 2)])
        #expect(presentation.inspection.corePath == "/tmp/c")
    }

    @Test func `the screen is a window behind the others, and the core's is behind it`() throws {
        let windows = try spec("--screen", "--dump", "1:2", "--memory", "2MiB", "--core", "/tmp/c").dumps
        #expect(
            windows == [
                MemoryRange(address: 1, count: 2), MemoryRange(address: 0xB8000, count: 4000),
                MemoryRange(address: 0, count: 2 << 20),
            ])
    }

    @Test(arguments: [
        (["--dump", "7"], "write ADDR:LEN"), (["--dump", "1:2:3"], "write ADDR:LEN"),
        (["--dump", ":2"], "not a number"),
        (["--dump", "1:0"], "no bytes"), (["--dump", "0xffffffffffffffff:2"], "beyond 64-bit"),
        (["--dump", "0:1KB"], "not a unit"), (["--dump", "0:65MiB"], "at most 64 MiB in all"),
        (["--dump", "0:40MiB", "--dump", "0:40MiB"], "at most 64 MiB in all"),
        (["--dump", "0:0xffffffffffffffff", "--dump", "0:0xffffffffffffffff"], "at most 64 MiB in all"),
        (["--core", "c", "--repeat", "2"], "one job only"), (["--core", "c", "b"], "one job only"),
        (Array(repeating: ["--dump", "0:1"], count: 65).flatMap(\.self), "64 times"),
        (["--core", "c"] + Array(repeating: ["--dump", "0:1"], count: 64).flatMap(\.self), "the core being one"),
        (["--screen"] + Array(repeating: ["--dump", "0:1"], count: 64).flatMap(\.self), "the screen being one"),
        (["--board", "mac"], "write bare or pc"),
    ])
    func `wrong usage is told`(arguments: [String], reason: String) {
        let error = #expect(throws: (any Error).self) { try SubmitCommand.parse(["a"] + arguments) }
        guard let error else { return }
        #expect(SubmitCommand.fullMessage(for: error).contains(reason))
    }
}

@Suite struct MemoryReceiverTests {
    private static let ended: JobEnd = {
        var result = JobResult(outcome: .halted)
        result.wallNanoseconds = 1
        return .ended(result)
    }()

    private func receive(
        _ pieces: [[UInt8]], of windows: [MemoryRange], end: JobEnd = MemoryReceiverTests.ended
    ) async -> [MemoryDump] {
        var receiver = MemoryReceiver(Inspection(dumps: windows))
        for piece in pieces { await receiver.receive(piece) }
        return receiver.dumps(of: end)
    }

    private static let window = MemoryRange(address: 0x1000, count: 8)
    private static let windowEnd = MemoryRecord(address: 0x1008, bytes: []).encoded

    @Test func `records are put together wherever they were cut, and what none covers is zero`() async {
        let records = [
            MemoryRecord(address: 0x1001, bytes: [1, 2]), MemoryRecord(address: 0x1006, bytes: [3, 4]),
        ]
        let bytes = records.flatMap(\.encoded) + Self.windowEnd
        for cut in 0...bytes.count {
            let dumps = await receive([Array(bytes[..<cut]), Array(bytes[cut...])], of: [Self.window])
            #expect(dumps == [MemoryDump(address: 0x1000, bytes: [0, 1, 2, 0, 0, 0, 3, 4])])
        }
    }

    @Test func `windows come in their order, and one without its end is not complete`() async {
        let windows = [Self.window, MemoryRange(address: 0x1004, count: 2), MemoryRange(address: 0x2000, count: 1)]
        let pieces = [
            MemoryRecord(address: 0x1000, bytes: Array(1...8)).encoded, Self.windowEnd,
            MemoryRecord(address: 0x1004, bytes: [5, 6]).encoded,
        ]
        let dumps = await receive(pieces, of: windows)
        #expect(dumps.map(\.bytes) == [Array(1...8), [5, 6], [0]] && dumps.map(\.isComplete) == [true, false, false])
    }

    @Test func `a window of zeros is its end alone, and a job that never ran left nothing`() async {
        #expect(await receive([Self.windowEnd], of: [Self.window]) == [MemoryDump(Self.window)])
        #expect(await receive([], of: [Self.window]).map(\.isComplete) == [false])
        #expect(await receive([], of: [Self.window], end: .lost("gone")).isEmpty)
        #expect(await receive([], of: [Self.window], end: .ended(JobResult(outcome: .cancelled(by: .client)))).isEmpty)
    }

    @Test(arguments: [
        MemoryRecord(address: 0xFFF, bytes: [9, 9]).encoded, MemoryRecord(address: 0x1007, bytes: [9, 9]).encoded,
        MemoryRecord(address: .max, bytes: [9, 9]).encoded, MemoryRecord(address: 0, bytes: [9]).encoded,
        MemoryRecord(address: 0x1000, bytes: [UInt8](repeating: 9, count: 9)).encoded,
        MemoryRecord(address: 0x1007, bytes: []).encoded, MemoryRecord(address: 0x1009, bytes: []).encoded,
        [0, 0, 0, 0, 0, 0, 0x10, 0, 0xFF, 0xFF, 0xFF, 0xFF, 9],
    ])
    func `after memory that nobody asked for, or no record at all, nothing is believed`(bytes: [UInt8]) async {
        let good = MemoryRecord(address: 0x1000, bytes: [1]).encoded
        let more = MemoryRecord(address: 0x1001, bytes: [2]).encoded
        let dumps = await receive([good, bytes, more, Self.windowEnd], of: [Self.window])
        #expect(dumps.map(\.bytes) == [[1, 0, 0, 0, 0, 0, 0, 0]] && dumps.map(\.isComplete) == [false])
    }

    @Test func `what comes behind the last window is not taken`() async {
        var receiver = MemoryReceiver(Inspection(dumps: [Self.window]))
        await receiver.receive(Self.windowEnd)
        #expect(!receiver.isBroken)
        await receiver.receive(Self.windowEnd)
        #expect(receiver.isBroken && receiver.dumps(of: Self.ended).map(\.isComplete) == [true])
    }
}

@Suite struct TraceDisplayTests {
    private static let step = TraceRecord.step(
        TraceStep(
            rip: 0x7C00, linearAddress: 0x17C00, bits: 16, code: [0xB8, 0x34, 0x12, 0xE6, 0xE9],
            changes: [.init(name: .rax, value: 0x1234), .init(name: .rflags, value: 0x46)]))
    private static let exit = TraceRecord.exit(
        ExitRecord(kind: .portOut, size: 1, count: 1, address: 0xE9, value: 0x34, rip: 0x7C05))
    private static let plain = TraceRecord.step(
        TraceStep(rip: 0x7C03, linearAddress: 0x17C03, bits: 16, code: [0xE6, 0xE9], changes: []))

    @Test func `each step is a line, and exits stand behind theirs`() {
        let bytes = [Self.step, Self.plain, Self.exit].flatMap(\.encoded)
        for cut in 0...bytes.count {
            var trace = TraceDisplay(name: "a")
            #expect(
                trace.lines(Array(bytes[..<cut])) + trace.lines(Array(bytes[cut...])) == [
                    "      1  00017c00  b8 34 12                 mov ax, 0x1234                    rax=0x1234 rflags=0x46 [ZF PF]",
                    "      2  00017c03  e6 e9                    out 0xe9, al",
                    "         exit: port-out 0x0e9, size 1, value 0x34 \"4\"",
                ])
            #expect(!trace.isBroken)
        }
    }

    @Test func `as JSON each is an object whose first key is trace`() throws {
        var trace = TraceDisplay(name: "a")
        let texts = trace.objects([Self.step, Self.exit].flatMap(\.encoded)).map {
            String(decoding: $0.bytes, as: UTF8.self)
        }
        #expect(
            texts == [
                #"{"trace":"step","name":"a","step":1,"address":"0x17c00","rip":"0x7c00","bits":16,"bytes":"b8 34 12","#
                    + #""text":"mov ax, 0x1234","changes":{"rax":"0x1234","rflags":"0x46"}}"#,
                #"{"trace":"exit","name":"a","kind":"port-out","address":"0xe9","size":1,"count":1,"value":"0x34","rip":"0x7c05"}"#,
            ])
    }

    @Test func `bytes that no CPU runs are shown as they are`() {
        var trace = TraceDisplay(name: "a")
        let records = [(32, [0x0F]), (64, [0x06]), (64, [])] as [(UInt8, [UInt8])]
        let steps = records.map {
            TraceRecord.step(TraceStep(rip: .max, linearAddress: .max, bits: $0, code: $1, changes: []))
        }
        let lines = trace.lines(steps.flatMap(\.encoded))
        #expect(lines.count == 3 && lines.allSatisfy { $0.contains("ffffffffffffffff") && $0.hasSuffix("(bad)") })
    }

    @Test func `what is no record ends the trace`() {
        var trace = TraceDisplay(name: "a")
        #expect(trace.lines(Self.exit.encoded + [UInt8](repeating: 9, count: 40) + Self.exit.encoded).count == 1)
        #expect(trace.isBroken && trace.lines(Self.exit.encoded).isEmpty)
    }
}
