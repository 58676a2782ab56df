// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct JobDisplayTests {
    private let output = Pipe()
    private let messages = Pipe()

    /// Shows a job that writes twice and halts, and returns what came out.
    private func show(_ presentation: Presentation) async throws -> (output: String, messages: String) {
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(messages.fileHandleForWriting, name: "messages"), isTerminal: false)
        var display = JobDisplay(image: "a.bin", name: "a", presentation: presentation, console: console)
        try await display.receive(.console, Array("one\ntw".utf8))
        try await display.receive(.portWrites, PortWrite(port: 0x80, size: 1, value: 0x12).record)
        try await display.receive(.console, Array("o".utf8))
        var result = JobResult(outcome: .halted)
        result.wallNanoseconds = 1000
        result.registers = Registers()
        try await display.finish(.ended(result))
        return (try text(of: output), try text(of: messages))
    }

    private func text(of pipe: Pipe) throws -> String {
        try pipe.fileHandleForWriting.close()
        return String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    }

    @Test func `a single job's output passes unchanged, and the verdict goes to standard error`() async throws {
        let shown = try await show(Presentation(style: .raw))
        #expect(shown.output == "one\ntwo")
        #expect(shown.messages == "a: port 0x80 <- 0x12 (1 byte)\na: halted; 1 us\n")
    }

    @Test func `of several jobs each line tells whose it is`() async throws {
        let shown = try await show(Presentation(style: .prefixed))
        #expect(shown.output == "a: one\na: two\n")
    }

    @Test func `registers follow the verdict when asked for`() async throws {
        let lines = try await show(Presentation(style: .raw, showsRegisters: true)).messages.split(separator: "\n")
        #expect(lines.count == 7 && lines[2].hasPrefix("rax 00000000  rbx"))
    }

    /// Shows a job with these pieces of output and this result, and returns what came out.
    private func show(
        _ presentation: Presentation, _ pieces: [(OutputChannel, [UInt8])], _ result: JobResult
    ) async throws -> (output: String, messages: String) {
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(messages.fileHandleForWriting, name: "messages"), isTerminal: false)
        var display = JobDisplay(image: "a.bin", name: "a", presentation: presentation, console: console)
        try await display.begin(JobSpec(), .image(Image([])))
        for (channel, bytes) in pieces { try await display.receive(channel, bytes) }
        try await display.finish(.ended(result))
        return (try text(of: output), try text(of: messages))
    }

    private static let step = TraceRecord.step(
        TraceStep(rip: 0x7C00, linearAddress: 0x7C00, bits: 16, code: [0xF4], changes: []))

    @Test func `what was asked for of the end follows the verdict`() async throws {
        var result = realModeResult(rip: 0x7C01)
        result.postMortem.code = MemoryWindow(address: 0x7C00, bytes: [0x90, 0xF4])
        let inspection = Inspection(sections: [.code, .exits], dumps: [MemoryRange(address: 0x7C00, count: 2)])
        let records = [
            MemoryRecord(address: 0x7C00, bytes: [0x90, 0xF4]), MemoryRecord(address: 0x7C02, bytes: []),
        ]
        let shown = try await show(
            Presentation(style: .raw, inspection: inspection), [(.memory, records.flatMap(\.encoded))], result)
        #expect(shown.output.isEmpty)
        #expect(
            shown.messages.split(separator: "\n") == [
                "a: halted; 1 us", "code, 16-bit", "    7c00  90  nop", "=>  7c01  f4  hlt", "last exits: none",
                "memory 0x7c00, 2 bytes",
                "00007c00  90 f4                                             |..|", "00007c02",
            ])
    }

    @Test func `a window of many lines is shown whole`() async throws {
        let window = MemoryRange(address: 0, count: 16 * 10_000)
        let bytes = (0..<160_000).map { UInt8(truncatingIfNeeded: $0 / 16 / ($0 % 16 + 1)) }
        let records = stride(from: 0, to: bytes.count, by: MemoryRecord.limit).map { start in
            let end = min(start + MemoryRecord.limit, bytes.count)
            return (
                OutputChannel.memory, MemoryRecord(address: UInt64(start), bytes: Array(bytes[start..<end])).encoded
            )
        }
        // More than a pipe holds: somebody has to read meanwhile.
        let reader = messages.fileHandleForReading
        let text = Task.detached { try reader.readToEnd() ?? Data() }
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(messages.fileHandleForWriting, name: "messages"), isTerminal: false)
        let presentation = Presentation(style: .raw, inspection: Inspection(dumps: [window]))
        var display = JobDisplay(image: "a.bin", name: "a", presentation: presentation, console: console)
        for (channel, bytes) in records { try await display.receive(channel, bytes) }
        try await display.finish(.ended(realModeResult(rip: 0)))
        try messages.fileHandleForWriting.close()
        let lines = String(decoding: try await text.value, as: UTF8.self).split(separator: "\n")
        #expect(lines.count == 2 + 10_000 + 1 && lines.last == "00027100")
        #expect(lines[2 + 4097].hasPrefix("00010010") && lines[2 + 9_999].hasPrefix("000270f0"))
    }

    @Test func `a trace goes to standard error as it comes, with the name where there are several`() async throws {
        let shown = try await show(
            Presentation(style: .prefixed), [(.trace, Self.step.encoded)], realModeResult(rip: 0x7C01))
        #expect(shown.messages == "a:       1  00007c00  f4                       hlt\na: halted; 1 us\n")
    }

    @Test func `as JSON a trace is lines before the job's`() async throws {
        let shown = try await show(
            Presentation(style: .collected), [(.trace, Self.step.encoded)], realModeResult(rip: 0x7C01))
        let lines = shown.output.split(separator: "\n")
        #expect(lines.count == 2 && lines[0].hasPrefix("{\"trace\":\"step\"") && lines[1].hasPrefix("{\"image\""))
    }

    @Test func `a broken trace is said to be broken, once`() async throws {
        let junk = [UInt8](repeating: 9, count: 64)
        let shown = try await show(Presentation(style: .raw), [(.trace, junk), (.trace, junk)], realModeResult(rip: 0))
        #expect(
            shown.messages.split(separator: "\n") == [
                "a: the trace ends here: the worker sent what is no record of one", "a: halted; 1 us",
            ])
    }

    @Test func `a core that could not be written fails the command, behind all that can be shown`() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)").path
        let presentation = Presentation(style: .raw, inspection: Inspection(corePath: path))
        let junk = [UInt8](repeating: 0xFF, count: 64)
        let failure = await #expect(throws: CommandFailure.self) {
            try await show(presentation, [(.memory, junk)], realModeResult(rip: 0))
        }
        #expect(failure?.status == 125 && failure?.message.contains("no core at \(path): ") == true)
        #expect(try text(of: messages) == "a: halted; 1 us\n")
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func `a refused job has no core, and its own status`() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)").path
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(messages.fileHandleForWriting, name: "messages"), isTerminal: false)
        let presentation = Presentation(style: .raw, inspection: Inspection(corePath: path))
        var display = JobDisplay(image: "a.bin", name: "a", presentation: presentation, console: console)
        try await display.begin(JobSpec(), .image(Image([])))
        try await display.finish(.refused(.unreadable("no such file")))
        #expect(try text(of: messages) == "a: refused: no such file\n")
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func `as JSON all of it is one line`() async throws {
        let shown = try await show(Presentation(style: .collected, listsPortWrites: true, stepBudget: 9))
        #expect(shown.messages.isEmpty && shown.output.hasSuffix("}\n"))
        #expect(shown.output.split(separator: "\n").count == 1)
        let json = try JSONSerialization.jsonObject(with: Data(shown.output.utf8)) as? [String: Any]
        #expect(json?["output_base64"] as? String == Data("one\ntwo".utf8).base64EncodedString())
        #expect((json?["port_writes"] as? [Any])?.count == 1)
        #expect((json?["steps"] as? [String: Any])?["budget"] as? Int == 9)
    }
}
