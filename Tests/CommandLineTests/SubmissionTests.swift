// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

/// The whole way: command line, embedded worker, virtual machine, and back.
@Suite(.enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm"), .timeLimit(.minutes(1)))
struct SubmissionTests {
    /// Runs a command and returns its status and what it wrote to standard output.
    private func submit(_ arguments: String...) async throws -> (status: Int32, output: String) {
        let command = try SubmitCommand.parse(arguments + ["--embedded"])
        let (output, messages) = (Pipe(), FileHandle(forWritingAtPath: "/dev/null"))
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(try #require(messages), name: "messages"), isTerminal: false)
        let status = try await command.submission(console: console).run(on: .embedded)
        try output.fileHandleForWriting.close()
        let bytes = try output.fileHandleForReading.readToEnd() ?? Data()
        return (status, String(decoding: bytes, as: UTF8.self))
    }

    private func objects(_ output: String) throws -> [[String: Any]] {
        try output.split(separator: "\n").map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
    }

    @Test func `two and two are four`() async throws {
        let sum = try await submit("--hex", "00 d8 04 30 ba f8 03 ee b0 0a ee f4", "--set", "ax=2", "--set", "bx=2")
        #expect(sum.status == 0 && sum.output == "4\n")
    }

    @Test func `a guest's exit code is the status`() async throws {
        let exited = try await submit("--hex", "b0 07 e6 f4")
        #expect(exited.status == 7 && exited.output.isEmpty)
    }

    @Test func `several jobs run at once, and the worst of them counts`() async throws {
        let several = try await submit("--hex", "b0 41 e6 e9 f4", "--hex", "b0 07 e6 f4", "--repeat", "2")
        #expect(several.status == 1)
        #expect(several.output.split(separator: "\n").sorted() == ["hex-1#1: A", "hex-1#2: A"])
    }

    @Test func `a step budget ends a loop, exactly`() async throws {
        let ended = try await submit("--hex", "eb fe", "--steps", "1000", "--json")
        let json = try #require(try objects(ended.output).first)
        #expect(ended.status == 124 && json["outcome"] as? String == "steps-exhausted")
        #expect((json["steps"] as? [String: Any])?["used"] as? Int == 1000)
        #expect((json["exhausted"] as? [String: Any])?["limit"] as? Int == 1000)
    }

    @Test func `a guest reads the file that it is given`() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)")
        try Data("hello!".utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        // Echoes COM1, from the line status register on, up to an exclamation mark.
        let echo = "ba fd 03 ec a8 01 74 fb ba f8 03 ec 3c 21 74 03 ee eb ed f4"
        let read = try await submit("--hex", echo, "--stdin", file.path)
        #expect(read.status == 0 && read.output == "hello")
    }

    @Test func `port writes are listed`() async throws {
        let json = try objects(try await submit("--hex", "b0 12 e6 80 f4", "--port-writes", "--json").output)[0]
        let writes = json["port_writes"] as? [[String: Any]]
        #expect(
            writes?.count == 1 && writes?[0]["port"] as? String == "0x80" && writes?[0]["value"] as? String == "0x12")
    }

    @Test func `what cannot run does not keep the others from running`() async throws {
        let mixed = try await submit("/nonexistent/file", "--hex", "f4", "--json")
        let outcomes = try objects(mixed.output).map { "\($0["name"] ?? ""): \($0["outcome"] ?? "")" }
        #expect(mixed.status == 126 && outcomes.sorted() == ["/nonexistent/file: refused", "hex: halted"])
    }

    @Test func `the worker's refusal is told with its rule`() async throws {
        let refused = try await submit("--hex", "f4", "--memory", "4096", "--json")
        let error = try objects(refused.output)[0]["error"] as? [String: Any]
        #expect(refused.status == 126 && error?["code"] as? String == "memory-size" && error?["value"] as? Int == 4096)
    }

    @Test func `a closed standard output stops the jobs`() async throws {
        let command = try SubmitCommand.parse(["--hex", "b0 78 e6 e9 eb fa", "--repeat", "3", "--embedded"])
        let (output, messages) = (Pipe(), Pipe())
        let console = Console(
            output: ByteSink(output.fileHandleForWriting, name: "output"),
            messages: ByteSink(messages.fileHandleForWriting, name: "messages"), isTerminal: false)
        try output.fileHandleForReading.close()
        await #expect(throws: OutputError.closed) { try await command.submission(console: console).run(on: .embedded) }
        try messages.fileHandleForWriting.close()
        #expect(try messages.fileHandleForReading.readToEnd() ?? Data() == Data())
    }

    @Test func `a socket that is not there is kvmjob's fault`() async throws {
        let submission = try SubmitCommand.parse(["--hex", "f4"]).submission(console: .standard)
        let failure = await #expect(throws: CommandFailure.self) {
            try await submission.run(on: .socket(path: "/nonexistent/socket"))
        }
        #expect(failure?.status == 125 && failure?.message.contains("/nonexistent/socket") == true)
    }
}
