// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

/// The whole way of what is asked of a job's end: command line, embedded worker, virtual machine, and back.
@Suite(
    "A job's end is told as asked for", .enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm"),
    .timeLimit(.minutes(1)))
struct InspectionSubmissionTests {
    /// Runs a command and returns its status and what it wrote.
    private func submit(_ arguments: String...) async throws -> (status: Int32, output: String, messages: [Substring]) {
        let command = try SubmitCommand.parse(arguments + ["--embedded"])
        let (output, messages) = (Pipe(), Pipe())
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(messages.fileHandleForWriting, name: "messages"), isTerminal: false)
        let status = try await command.submission(console: console).run(on: .embedded)
        try output.fileHandleForWriting.close()
        try messages.fileHandleForWriting.close()
        let text = { String(decoding: $0 ?? Data(), as: UTF8.self) }
        return (
            status, text(try output.fileHandleForReading.readToEnd()),
            text(try messages.fileHandleForReading.readToEnd()).split(separator: "\n")
        )
    }

    private static let four = "00 d8 04 30 e6 e9 f4"

    @Test func `the code, the stack and the last exits follow the registers`() async throws {
        let shown = try await submit("--hex", Self.four, "--set", "ax=2", "--set", "bx=2", "--registers").messages
        let code = try #require(shown.firstIndex(of: "code, 16-bit"))
        #expect(
            shown[(code + 1)...(code + 5)] == [
                "    1000  00 d8  add al, bl", "    1002  04 30  add al, 0x30", "    1004  e6 e9  out 0xe9, al",
                "    1006  f4     hlt", "=>  1007  00 00  add byte ptr [bx + si], al",
            ])
        #expect(
            shown.contains("stack, 16-bit words")
                && shown.contains("    00001000  d800 3004 e9e6 00f4 0000 0000 0000 0000"))
        #expect(shown.suffix(2).first?.split(separator: " ") == ["port-out", "0x0e9", "1", "0x34", "4", "0x1006"])
        #expect(shown.last?.split(separator: " ") == ["halt", "-", "-", "-", "-", "0x1007"])
    }

    @Test func `windows of memory are those that the guest left`() async throws {
        // mov byte [0x2000], 0x41; hlt
        let shown = try await submit("--hex", "c6 06 00 20 41 f4", "--dump", "0x2000:16").messages
        #expect(
            shown.suffix(3) == [
                "memory 0x2000, 16 bytes",
                "00002000  41 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |A...............|", "00002010",
            ])
        let json = try await submit("--hex", "c6 06 00 20 41 f4", "--dump", "0x2000:2", "--json").output
        #expect(json.contains(#""dumps":[{"address":"0x2000","length":2,"complete":true,"base64":"QQA="}]"#))
    }

    @Test func `each step and each exit is told`() async throws {
        let shown = try await submit("--hex", Self.four, "--set", "ax=2", "--set", "bx=2", "--trace")
        #expect(shown.status == 0 && shown.output == "4")
        let steps = shown.messages.filter { $0.contains("0000100") }.map { $0.split(separator: " ").prefix(2) }
        #expect(steps == [["1", "00001000"], ["2", "00001002"], ["3", "00001004"], ["4", "00001006"]])
        #expect(shown.messages[0].hasSuffix("add al, bl                        rax=0x4"))
        #expect(shown.messages.contains("         exit: port-out 0x0e9, size 1, value 0x34 \"4\""))
    }

    @Test func `as JSON the trace comes before the job's object, which has all the rest`() async throws {
        let lines = try await submit("--hex", Self.four, "--json", "--trace").output.split(separator: "\n")
        let objects = try lines.map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
        #expect(objects.filter { $0["trace"] as? String == "step" }.compactMap { $0["step"] as? Int } == [1, 2, 3, 4])
        let found = try #require(objects.last?["post_mortem"] as? [String: Any])
        #expect((found["code"] as? [String: Any])?["current"] as? Int == 4)
        #expect(
            (found["last_exits"] as? [[String: Any]])?.compactMap { $0["kind"] as? String } == ["port-out", "halt"])
    }

    @Test func `a core is the guest's memory and registers`() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        let ended = try await submit("--hex", Self.four, "--core", path, "--memory", "1GiB")
        #expect(ended.status == 0)
        let file = try #require(FileHandle(forReadingAtPath: path))
        #expect(try file.read(upToCount: 5) == Data([0x7F, 0x45, 0x4C, 0x46, 1]))
        try file.seek(toOffset: CoreHead.memoryOffset + 0x1000)
        #expect(try file.read(upToCount: 7) == Data(try HexText.parse(Self.four)))
        #expect(try file.seekToEnd() == CoreHead.memoryOffset + 1 << 30)
    }

    @Test func `a core that cannot be written keeps the guest from running`() async throws {
        let refused = try await submit("--hex", "b0 41 e6 e9 f4", "--core", "/nonexistent/core")
        #expect(refused.status == 126 && refused.output.isEmpty)
        #expect(refused.messages == ["hex: refused: cannot write /nonexistent/core: there is no /nonexistent"])
    }
}
