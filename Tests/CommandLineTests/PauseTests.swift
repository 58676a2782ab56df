// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import ArgumentParser
import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct PauseAnswerTests {
    @Test(arguments: [("100", 100), (" 0x10 ", 16), ("", 7), ("  ", 7), ("q", 0)] as [(String, UInt64)])
    func `a line says how many steps more`(line: String, steps: UInt64) throws {
        #expect(try PauseDialog.steps(line, usual: 7) == steps)
    }

    @Test(arguments: ["many", "1 2", "-5", "0", "quit", "q q", "18446744073709551616"])
    func `another line is told what would be right`(line: String) {
        let error = #expect(throws: ValueError.self) { try PauseDialog.steps(line, usual: 7) }
        #expect(error?.description.contains("\"\(line)\" is no answer: write how many steps more") == true)
    }

    @Test(arguments: [
        (["a", "--on-exhausted", "pause"], "needs --steps"),
        (["a", "b", "--steps", "5", "--on-exhausted", "pause"], "one job only"),
        (["a", "--repeat", "2", "--steps", "5", "--on-exhausted", "pause"], "one job only"),
        (["-", "--steps", "5", "--on-exhausted", "pause"], "answers pauses"),
        (["a", "--stdin", "-", "--steps", "5", "--on-exhausted", "pause"], "answers pauses"),
        (["a", "--steps", "5", "--on-exhausted", "stop"], "'end' and 'pause'"),
    ])
    func `wrong usage is told, with status 64`(arguments: [String], reason: String) {
        let error = #expect(throws: (any Error).self) { try SubmitCommand.parse(arguments) }
        guard let error else { return }
        #expect(SubmitCommand.fullMessage(for: error).contains(reason))
        #expect(SubmitCommand.exitCode(for: error) == .validationFailure)
    }

    @Test func `only a job that is to pause asks for it`() throws {
        let pausing = try SubmitCommand.parse(["a", "--steps", "5", "--on-exhausted", "pause"])
        let submission = try pausing.submission(console: .standard)
        #expect(submission.spec.pausesWhenStepsRunOut && submission.answers?.path == "-")
        let ending = try SubmitCommand.parse(["a", "--steps", "5"]).submission(console: .standard)
        #expect(!ending.spec.pausesWhenStepsRunOut && ending.answers == nil)
    }
}

@Suite struct LineReaderTests {
    private func lines(_ text: String) async throws -> [String] {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)").path
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        var reader = LineReader(try ByteSource(path: path))
        var lines: [String] = []
        while let line = try await reader.next() { lines.append(line) }
        return lines
    }

    @Test func `lines come one by one, the last one with or without its end`() async throws {
        #expect(try await lines("1\n\n3\n") == ["1", "", "3"])
        #expect(try await lines("1\n2") == ["1", "2"])
        #expect(try await lines("") == [])
    }

    @Test func `a line is bounded, and the next one is whole`() async throws {
        let long = String(repeating: "x", count: 200_000)
        #expect(try await lines(long + "\n7\n") == [String(long.prefix(LineReader.lineLimit)), "7"])
    }
}

/// The whole way: command line, embedded worker, virtual machine, and back.
@Suite(.enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm"), .timeLimit(.minutes(1)))
struct PausedSubmissionTests {
    /// mov cx, 5; mov al, 'a'; again: out 0xe9, al; loop again; hlt: 13 steps
    private let letters = "b90500 b061 e6e9 e2fc f4"

    /// Runs a command and answers its pauses with these lines.
    private func submit(
        _ answers: String, isTerminal: Bool = false, _ arguments: String...
    ) async throws -> (status: Int32, output: String, messages: String) {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)").path
        try Data(answers.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let command = try SubmitCommand.parse(
            ["--hex", letters, "--on-exhausted", "pause", "--embedded"] + arguments)
        let (output, messages) = (Pipe(), Pipe())
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(messages.fileHandleForWriting, name: "messages"), isTerminal: isTerminal)
        var submission = try command.submission(console: console)
        submission.answers = AnswerSource(path: path, isTerminal: isTerminal)
        let status = try await submission.run(on: .embedded)
        try output.fileHandleForWriting.close()
        try messages.fileHandleForWriting.close()
        let text = { (pipe: Pipe) in
            String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        }
        return (status, try text(output), try text(messages))
    }

    @Test func `lines from a pipe let a job go on to its end, without prompts`() async throws {
        let run = try await submit("4\n\n0x64\n", "--steps", "3")
        #expect(run.status == 0 && run.output == "aaaaa")
        let lines = run.messages.split(separator: "\n").map(String.init)
        #expect(
            lines.prefix(3) == [
                "hex: paused after 3 steps at rip 0x1007; kept for 30 s",
                "hex: paused after 7 steps at rip 0x1007; kept for 30 s",
                "hex: paused after 10 steps at rip 0x1005; kept for 30 s",
            ])
        #expect(lines.count == 4 && lines.last?.hasPrefix("hex: halted; 13 steps") == true)
    }

    @Test(arguments: ["q\n", "", "3\nq\n4\n", "0\n"])
    func `a job can be given up`(answers: String) async throws {
        let run = try await submit(answers, "--steps", "4")
        #expect(run.status == 124)
        #expect(run.messages.contains("hex: steps-exhausted"))
    }

    @Test func `a bad line is told, and on a terminal there is a prompt for each line`() async throws {
        let run = try await submit("some\n100\n", isTerminal: true, "--steps", "4", "--registers")
        #expect(run.status == 0)
        let prompt = "steps more (empty for 4, q to give up): "
        #expect(run.messages.components(separatedBy: prompt).count == 3)
        #expect(run.messages.contains("kvmjob: \"some\" is no answer"))
        // The guest has left a line without its end.
        #expect(run.messages.hasPrefix("\nhex: paused after 4 steps"))
        #expect(run.messages.components(separatedBy: "rflags").count == 3, "at the pause and at the end")
    }

    @Test func `with --json each pause is an object before the job's own`() async throws {
        let run = try await submit("5\n\n", "--steps", "5", "--json")
        let objects = try run.output.split(separator: "\n").map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
        #expect(objects.count == 3 && run.messages.isEmpty)
        #expect(objects.map { $0["event"] as? String } == ["paused", "paused", nil])
        #expect(objects.map { $0["name"] as? String } == ["hex", "hex", "hex"])
        #expect(objects[0]["steps"] as? Int == 5 && objects[1]["steps"] as? Int == 10)
        #expect(objects[0]["keep_ns"] as? Int == 30_000_000_000)
        #expect((objects[0]["registers"] as? [String: String])?["rip"] == "0x1007")
        #expect((objects[0]["control"] as? [String: String])?["cr0"] != nil)
        #expect(objects[2]["outcome"] as? String == "halted")
    }

    @Test func `answers that cannot be read give the job up`() async throws {
        let command = try SubmitCommand.parse(
            ["--hex", letters, "--steps", "4", "--on-exhausted", "pause", "--embedded"])
        let (output, messages) = (Pipe(), Pipe())
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(messages.fileHandleForWriting, name: "messages"), isTerminal: false)
        var submission = try command.submission(console: console)
        submission.answers = AnswerSource(path: "/nonexistent/file", isTerminal: false)
        #expect(try await submission.run(on: .embedded) == 124)
        try messages.fileHandleForWriting.close()
        let said = try messages.fileHandleForReading.readToEnd() ?? Data()
        #expect(String(decoding: said, as: UTF8.self).contains("No such file or directory"))
    }
}
