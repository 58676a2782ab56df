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
