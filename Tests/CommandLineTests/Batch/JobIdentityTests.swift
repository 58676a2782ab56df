// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct JobIdentityTests {
    private func id(_ text: String) async throws -> String {
        let line = try ManifestLine(Array(text.utf8), number: 1, draft: ManifestDraft(folder: "/"), folder: "/")
        return try await BatchJob(line, files: BatchFiles()).id
    }

    /// Results files outlive versions: these ids must never be others.
    @Test(arguments: [
        (#"{"hex":"f4"}"#, "32db72df1b1bf422ffacb2abf7961d4b"),
        (
            #"{"hex":"b0 34 e6 e9 f4","set":{"ax":2,"ds":"0x10"},"mode":"real16","steps":100,"wall_time":"2s","stdin_text":"in"}"#,
            "be48796ea18067a0508bf316c91c6107"
        ),
    ])
    func `the id of a job stays the same for ever`(text: String, expected: String) async throws {
        #expect(try await id(text) == expected)
    }

    @Test func `what is hashed is what the documentation says`() async throws {
        let image = HexText.describe(digest: ContentDigest(hashing: [0xF4]).bytes)
        let fields = [
            ("kvmjob-job", "1"), ("image", image), ("mode", "real16"), ("register", "rax=2"), ("memory", "16777216"),
            ("steps", "5"), ("wall", "10000000000"),
        ]
        let text = fields.map { "\($0) \($1.utf8.count)\n\($1)\n" }.joined()
        let digest = HexText.describe(digest: ContentDigest(hashing: Array(text.utf8)).bytes)
        #expect(try await id(#"{"hex":"f4","set":{"ax":2},"steps":5}"#) == digest.prefix(32))
    }

    @Test func `label, priority, wait and spelling make no other job`() async throws {
        let plain = try await id(#"{"hex":"f4"}"#)
        for same in [
            #"{"hex":"F4","label":"x"}"#, #"{"priority":9,"hex":"0xf4","wait":"3s"}"#,
            #"{"hex":"f4","memory":"16MiB","mode":"real16"}"#,
        ] {
            #expect(try await id(same) == plain)
        }
    }

    @Test func `whatever changes what a job does makes another job`() async throws {
        let fields = [
            #""steps":5"#, #""wall_time":"3s""#, #""cpu_time":"3s""#, #""exits":3"#, #""output_limit":3"#,
            #""touched_memory":"1MiB""#,
            #""memory":"1MiB""#, #""mode":"long64""#, #""load":4096"#, #""entry":4096"#, #""set":{"ax":2}"#,
            #""set":{"bx":2}"#,
            #""set":{"cr0":17}"#, #""set":{"ds":2}"#, #""set":{"gdt.base":2}"#, #""memory_at":{"0":"00"}"#,
            #""meter":"exact""#,
            #""stdin_text":"""#, #""stdin_text":"a""#, #""registers":true"#, #""dump":["0:1"]"#, #""port_writes":true"#,
            #""deterministic":true"#, #""digest":true"#,
        ]
        var ids: Set = [try await id(#"{"hex":"f4"}"#)]
        for field in fields { ids.insert(try await id(#"{"hex":"f4",\#(field)}"#)) }
        #expect(ids.count == fields.count + 1)
    }

    @Test func `the same line again gets a number behind its id`() {
        #expect(JobIdentity.repeated("ab", 1) == "ab" && JobIdentity.repeated("ab", 2) == "ab-2")
    }
}

@Suite struct BatchFilesTests {
    @Test func `a file that lines share is read once, and again where there was no room to keep it`() async throws {
        let folder = NSTemporaryDirectory() + "files-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let paths = (0..<3).map { "\(folder)/\($0)" }
        for path in paths { try Data(repeating: 7, count: 1000).write(to: URL(fileURLWithPath: path)) }
        let files = BatchFiles(byteLimit: 2000)
        for path in [0, 1, 0, 1, 0, 2, 0, 1] {
            #expect(try await files.image(.file(paths[path]), limit: 1 << 20).bytes.count == 1000)
        }
        // The second was used longest ago when the third came.
        #expect(await files.readings == 4)
        await #expect(throws: Rejection.self) { try await files.image(.file(paths[0]), limit: 999) }
    }
}
