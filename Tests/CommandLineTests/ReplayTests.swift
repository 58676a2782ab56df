// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct RecordingTests {
    private static let job = #"{"spec":{"mode":"real16"},"image_base64":"9A=="}"#

    private func read(_ text: String) throws -> [Recording] { try Recording.read(Array(text.utf8), from: "r.json") }

    private func failure(_ text: String) -> String? {
        let failure = #expect(throws: CommandFailure.self) { try read(text) }
        #expect(failure?.status == 126)
        return failure?.message
    }

    @Test func `one object, stretched over lines or not, or one on each line`() throws {
        let line = #"{"name":"a","outcome":"halted","job":\#(Self.job)}"#
        #expect(try read(line).map(\.name) == ["a"])
        #expect(try read("{\n\"name\":\"a\",\n\"outcome\":\"halted\",\n\"job\":\(Self.job)\n}\n").map(\.name) == ["a"])
        #expect(try read("\n\(line)\n\n\(line)\r\n").map(\.name) == ["a", "a"])
    }

    @Test(arguments: [
        ("", "it is empty"), ("\n \n", "it is empty"), ("{", "not valid JSON"), ("[]", "array"), ("7", "number"),
        ("\u{0}\u{1}", "not valid JSON"),
        ("{}", "outcome: it is missing"), (#"{"outcome":7}"#, "outcome: "),
        (
            #"{"outcome":"halted"}"#,
            "there is no job in this report: record an image with kvmjob submit --deterministic --json"
        ),
        (#"{"outcome":"halted","job":null}"#, "there is no job"),
        (#"{"outcome":"refused","job":\#(job)}"#, "the job never ran (refused)"),
        (#"{"outcome":"halted","job":{"image_base64":"9A=="}}"#, "job.spec: it is missing"),
        (#"{"outcome":"halted","job":{"image_base64":"?","spec":{"mode":"real16"}}}"#, "job.image_base64: "),
        (#"{"outcome":"halted","job":{"image_base64":"","spec":{"mode":"x"}}}"#, "job.spec.mode: \"x\" is not a name"),
        (
            #"{"outcome":"halted","job":{"image_base64":"","spec":{"mode":"real16","dumps":[{"address":"0","count":"1"}]}}}"#,
            "job.spec.dumps[0].count: "
        ),
        (#"{"outcome":"halted","wall_ns":-1,"job":\#(job)}"#, "wall_ns: a number here is a whole one"),
        (String(repeating: "[", count: 100_000), "not valid JSON"),
        (#"{"outcome":"halted","job":\#(String(repeating: "{\"spec\":", count: 10_000))"#, "not valid JSON"),
    ])
    func `a report that is none says where`(text: String, reason: String) {
        let message = failure(text)
        #expect(message?.hasPrefix("r.json: ") == true && message?.contains(reason) == true, "\(message ?? "")")
    }

    @Test func `of several reports the line is told`() {
        let line = #"{"outcome":"halted","job":\#(Self.job)}"#
        #expect(failure("\(line)\n{\"outcome\":\"halted\"}\n")?.hasPrefix("r.json: line 2: there is no job") == true)
    }

    @Test func `ends that come from outside the guest are known as such`() throws {
        for (outcome, repeats) in [("halted", true), ("steps-exhausted", true), ("wall-time-exhausted", false)] {
            let recording = try read(#"{"outcome":"\#(outcome)","job":\#(Self.job)}"#)[0]
            #expect(recording.isRepeatable == repeats)
        }
    }
}

@Suite struct DifferenceTests {
    private func object(_ text: String) throws -> JSONValue {
        try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }

    private func between(_ one: String, _ other: String) throws -> [ReportDifference] {
        ReportDifference.between(try object(one), try object(other))
    }

    @Test func `differences are told by field`() throws {
        let found = try between(
            #"{"outcome":"halted","registers":{"rax":"0x1","rbx":"0x2"},"steps":{"used":5},"wall_ns":1}"#,
            #"{"outcome":"halted","registers":{"rax":"0x1","rbx":"0x3"},"steps":{"used":6},"wall_ns":2}"#)
        #expect(
            found == [
                ReportDifference(field: "steps.used", recorded: "5", repeated: "6"),
                ReportDifference(field: "registers.rbx", recorded: "\"0x2\"", repeated: "\"0x3\""),
            ])
    }

    @Test func `what only one of them has differs, but for keys that the recorded report never had`() throws {
        #expect(
            try between(#"{"registers":null}"#, #"{"registers":{"rax":"0x1"},"digest":"ab"}"#).map(\.field) == [
                "registers"
            ])
        #expect(try between(#"{"steps":{"used":1}}"#, "{}").map(\.field) == ["steps"])
        #expect(try between(#"{"steps":{}}"#, #"{"steps":{"used":1}}"#).map(\.field) == ["steps.used"])
        #expect(try between(#"{"port_writes":[1,2]}"#, #"{"port_writes":[1,3]}"#).map(\.field) == ["port_writes[1]"])
        #expect(try between(#"{"port_writes":[1,2]}"#, #"{"port_writes":[1]}"#).map(\.field) == ["port_writes"])
    }

    @Test func `of the output it is told where it parts`() throws {
        let (one, other) = (Data("hello!".utf8).base64EncodedString(), Data("help".utf8).base64EncodedString())
        let found = try between(#"{"output_base64":"\#(one)"}"#, #"{"output_base64":"\#(other)"}"#)
        #expect(found.first?.recorded == "6 bytes, from byte 3 on: 6c 6f 21" && found.count == 1)
        #expect(found.first?.repeated == "4 bytes, from byte 3 on: 70")
        #expect(try between(#"{"output_base64":7}"#, #"{"output_base64":""}"#).count == 1)
    }
}

/// The whole way: record, run again, compare.
@Suite(.enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm"), .timeLimit(.minutes(1)))
struct ReplayTests {
    private func collect(_ body: (Console) async throws -> Int32) async throws -> (status: Int32, output: String) {
        // A file, since a report can be larger than what a pipe holds.
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)")
        try Data().write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let console = Console(
            output: ByteSink(try FileHandle(forWritingTo: file), name: "output"),
            messages: ByteSink(try #require(FileHandle(forWritingAtPath: "/dev/null")), name: "messages"),
            isTerminal: false)
        let status = try await body(console)
        return (status, String(decoding: try Data(contentsOf: file), as: UTF8.self))
    }

    private func record(_ arguments: String...) async throws -> (status: Int32, output: String) {
        let command = try SubmitCommand.parse(arguments + ["--deterministic", "--json", "--embedded"])
        return try await collect { try await command.submission(console: $0).run(on: .embedded) }
    }

    private func replay(
        _ report: String, times: Int = 1, json: Bool = false
    ) async throws -> (status: Int32, output: String) {
        let recordings = try Recording.read(Array(report.utf8), from: "report")
        return try await collect { console in
            try await Replay(recordings: recordings, times: times, asJSON: json, console: console).run(on: .embedded)
        }
    }

    @Test func `what was recorded comes out again, as often as one likes`() async throws {
        let recorded = try await record(
            "--hex", "00 d8 04 30 ba f8 03 ee b0 0a e6 80 ee f4", "--set", "ax=2", "--set", "bx=2", "--steps", "100",
            "--port-writes")
        let report = try #require(
            try JSONSerialization.jsonObject(with: Data(recorded.output.utf8)) as? [String: Any])
        #expect((report["digest"] as? String)?.count == 64)
        let again = try await replay(recorded.output, times: 20)
        #expect(again.status == 0 && again.output.hasPrefix("hex: same: halted; digest "))
        #expect(again.output.hasSuffix(", 20 runs\n"))
        let json = try await replay(recorded.output, json: true).output
        let finding = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
        #expect(finding["same"] as? Bool == true && finding["runs"] as? Int == 1 && finding["error"] is NSNull)
        #expect(finding["repeatable"] as? Bool == true && (finding["differences"] as? [Any])?.isEmpty == true)
    }

    @Test func `what a report tells wrongly is found, field by field`() async throws {
        let recorded = try await record("--hex", "b8 34 12 f4", "--steps", "9").output
        let changed = recorded.replacingOccurrences(of: #""rax":"0x1234""#, with: #""rax":"0x1235""#)
            .replacingOccurrences(of: #""steps":{"used":2"#, with: #""steps":{"used":3"#)
        #expect(changed != recorded)
        let found = try await replay(changed, times: 3)
        #expect(
            found.status == 1
                && found.output == """
                    hex: different in 3 of 3 runs; the first:
                      steps.used: 3 -> 2
                      registers.rax: "0x1235" -> "0x1234"

                    """
        )
        let json = try await replay(changed, json: true)
        let finding = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
        #expect(json.status == 1 && finding["same"] as? Bool == false && finding["different_runs"] as? Int == 1)
        let fields = (finding["differences"] as? [[String: String]])?.compactMap { $0["field"] }
        #expect(fields == ["steps.used", "registers.rax"])
    }

    @Test func `memory that nobody sees is in the digest`() async throws {
        // mov [0x5000], al; the other image, of the same size, writes one byte further on.
        let recorded = try await record("--hex", "b0 01 a2 00 50 f4").output
        let other = recorded.replacingOccurrences(
            of: Data([0xB0, 0x01, 0xA2, 0x00, 0x50, 0xF4]).base64EncodedString(),
            with: Data([0xB0, 0x01, 0xA2, 0x01, 0x50, 0xF4]).base64EncodedString())
        let found = try await replay(other)
        #expect(found.status == 1 && found.output.split(separator: "\n").count == 2)
        #expect(found.output.contains("  digest: "))
    }

    @Test func `RDTSC is what a replay can find, where it cannot be kept from the guest`() async throws {
        let recorded = try await record("--hex", "0f 31 f4").output
        let found = try await replay(recorded)
        #expect(found.status == 1 && found.output.contains("registers.rax"))
    }

    @Test func `the input is recorded and given again`() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data("hello!".utf8).write(to: file)
        let echo = "ba fd 03 ec a8 01 74 fb ba f8 03 ec 3c 21 74 03 ee eb ed f4"
        let recorded = try await record("--hex", echo, "--stdin", file.path)
        #expect(recorded.output.contains(#""input_base64":"aGVsbG8h""#))
        #expect(recorded.output.contains(#""output_base64":"aGVsbG8=""#))
        let again = try await replay(recorded.output, times: 5)
        #expect(again.status == 0)
    }

    @Test func `input that cannot all be there at the start is refused`() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        for (size, status) in [(ByteSource.pieceLimit, 0), (ByteSource.pieceLimit + 1, 126)] as [(Int, Int32)] {
            try Data(count: size).write(to: file)
            let recorded = try await record("--hex", "f4", "--stdin", file.path)
            #expect(recorded.status == status)
            #expect(recorded.output.contains("input-too-large") == (status != 0))
        }
    }

    @Test func `an end by the clock is said not to repeat`() async throws {
        let recorded = try await record("--hex", "eb fe", "--wall-time", "20ms").output
        let found = try await replay(recorded)
        #expect(found.status == 1 && found.output.contains("exhausted.used"))
        #expect(
            found.output.hasSuffix(
                "wall-time-exhausted comes from outside the guest: such an end cannot be expected to repeat\n"))
    }

    @Test func `a job that is refused now is told so`() async throws {
        let recorded = try await record("--hex", "f4").output
        let small = recorded.replacingOccurrences(of: #""memory_bytes":16777216"#, with: #""memory_bytes":4096"#)
        let refused = try await replay(small, json: true)
        let finding = try #require(try JSONSerialization.jsonObject(with: Data(refused.output.utf8)) as? [String: Any])
        #expect(refused.status == 126 && finding["same"] is NSNull && finding["runs"] as? Int == 0)
        #expect((finding["error"] as? String)?.hasPrefix("refused: ") == true)
    }

    @Test func `usage is checked`() {
        for arguments in [[], ["a", "b"], ["a", "--times", "0"], ["a", "--times", "1000001"]] {
            #expect(throws: (any Error).self) { try ReplayCommand.parse(arguments) }
        }
    }

    @Test func `a file that is not there is told`() async throws {
        let command = try ReplayCommand.parse(["/nonexistent/file"])
        let failure = await #expect(throws: CommandFailure.self) { try await command.recordings() }
        #expect(failure?.status == 126 && failure?.message.contains("/nonexistent/file") == true)
    }
}
