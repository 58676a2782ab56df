// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import Testing

@testable import kvmjob

/// Vectors from their files to the tally, through the embedded worker and real guests.
@Suite(.enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm"))
struct ConformRunTests {
    private static let vectors = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Conformance")
    /// A directory of the public set, such as the `v2` of SingleStepTests/8088.
    private static let publicSet = ProcessInfo.processInfo.environment["KVMJOB_VECTORS"]

    private func conform(_ arguments: String...) async throws -> ConformTally {
        let command = try ConformCommand.parse(arguments + ["--embedded"])
        let messages = try #require(FileHandle(forWritingAtPath: "/dev/null"))
        let sink = ByteSink(messages, name: "messages")
        return try await command.tally(console: Console(output: sink, messages: sink, isTerminal: false))
    }

    /// A file for the time of a test.
    private func withFile<T>(_ name: String, _ bytes: Data, _ body: (String) async throws -> T) async throws -> T {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appendingPathComponent(name)
        try bytes.write(to: file)
        return try await body(file.path)
    }

    private func failures(_ tally: ConformTally) -> [String] {
        ConformReport(tally: tally).lines.filter { $0.hasPrefix("  ") }
    }

    @Test func `this machine's instructions do what an 8088's do, or differ for a known reason`() async throws {
        let tally = try await conform(Self.vectors.appendingPathComponent("written").path)
        #expect(tally.total.failed == 0, "\(failures(tally).joined(separator: "\n"))")
        #expect(tally.total.count > 600)
        #expect(tally.total.passed * 10 > tally.total.count * 8)
        for reason in ["push-sp", "pushed-flags", "shift-count", "divide-error", "rep-sign", "lowest-quotient"] {
            #expect(tally.total.known[reason] ?? 0 > 0, "\(reason)")
        }
    }

    @Test func `vectors of the public set hold`() async throws {
        let tally = try await conform(Self.vectors.appendingPathComponent("public").path)
        #expect(tally.total.passed == 2 && tally.total.count == 2, "\(failures(tally).joined(separator: "\n"))")
    }

    @Test(.enabled(if: publicSet != nil, "KVMJOB_VECTORS names no directory"))
    func `the public set holds, as far as this machine has it`() async throws {
        let tally = try await conform(Self.publicSet ?? "", "--limit", "50")
        print(ConformReport(tally: tally).lines.joined(separator: "\n"))
        #expect(tally.total.failed == 0)
    }

    @Test func `a vector that does not hold is a failure, of whichever part`() async throws {
        let file = Self.vectors.appendingPathComponent("public/00.json")
        let text = try String(contentsOf: file, encoding: .utf8)
        for (right, wrong) in [
            ("\"flags\": 62599", "\"flags\": 62598"), ("[957908, 207]", "[957908, 206]"),
            ("\"ip\": 13518", "\"ip\": 13517"),
            ("[760973, 221]", "[760973, 220]"),
        ] {
            let changed = text.replacingOccurrences(of: right, with: wrong)
            #expect(changed != text)
            let tally = try await withFile("00.json", Data(changed.utf8)) { try await conform($0) }
            #expect(tally.total.failed == 1 && tally.total.passed == 1, "\(right)")
        }
    }

    @Test func `packed files are unpacked, and a limit holds for each`() async throws {
        let (gzip, output) = (Process(), Pipe())
        gzip.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        gzip.arguments = ["gzip", "-c", Self.vectors.appendingPathComponent("public/00.json").path]
        gzip.standardOutput = output
        try gzip.run()
        let packed = try output.fileHandleForReading.readToEnd() ?? Data()
        gzip.waitUntilExit()
        let tally = try await withFile("00.json.gz", packed) { try await conform($0) }
        #expect(tally.total.passed == 2)
        let limited = try await withFile("00.json.gz", packed) { try await conform($0, "--limit", "1") }
        #expect(limited.total.passed == 1)
        let broken = try await withFile("00.json.gz", Data(packed.prefix(40))) { path in
            await #expect(throws: CommandFailure.self) { _ = try await conform(path) }
        }
        #expect(broken?.status == 126 && broken?.message.contains("gzip cannot unpack it") == true)
    }

    @Test func `what cannot be read is told with its place`() async throws {
        let missing = await #expect(throws: CommandFailure.self) { _ = try await conform("/nonexistent/vectors") }
        #expect(missing?.status == 126 && missing?.message.contains("/nonexistent/vectors") == true)
        let wrong = try await withFile("a.json", Data(#"[{"name": "a", "bytes": [1]}]"#.utf8)) { path in
            await #expect(throws: CommandFailure.self) { _ = try await conform(path) }
        }
        #expect(wrong?.message.contains("initial") == true)
        let empty = try await withFile("a.txt", Data()) { path in
            await #expect(throws: CommandFailure.self) {
                _ = try await conform(URL(fileURLWithPath: path).deletingLastPathComponent().path)
            }
        }
        #expect(empty?.message.contains("no vectors") == true)
    }
}
