// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import ArgumentParser
import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct ManifestLineTests {
    private func line(_ text: String, folder: String = "/jobs") throws -> ManifestLine {
        try ManifestLine(Array(text.utf8), number: 1, draft: ManifestDraft(folder: folder), folder: folder)
    }

    private func problem(_ text: String) -> ManifestProblem? {
        let problem = #expect(throws: FieldProblem.self) { try line(text) }
        return problem?.placed(in: "m", line: 7, Array(text.utf8))
    }

    @Test func `a line is the job that the same options make`() throws {
        let line = try line(
            #"{"hex":"f4","mode":"long64","load":"0x2000","set":{"rax":2,"rbx":"0x10"},"memory":"2MiB","steps":5,"wall_time":"3s","#
                + #""cpu_time":"5ms","exits":7,"output_limit":"64KiB","touched_memory":65536,"meter":"exact","priority":9,"wait":"1m","#
                + #""registers":true,"fpu":true,"dump":["0:16"],"port_writes":true,"digest":true}"#)
        let options = try SubmitCommand.parse([
            "--hex", "f4", "--mode", "long64", "--load", "0x2000", "--set", "rax=2", "--set", "rbx=0x10", "--memory",
            "2MiB",
            "--steps", "5", "--wall-time", "3s", "--cpu-time", "5ms", "--exits", "7", "--output-limit", "64KiB",
            "--touched-memory", "65536", "--meter", "exact", "--priority", "9", "--wait", "1m", "--registers", "--fpu",
            "--dump", "0:16", "--port-writes", "--digest",
        ])
        #expect(try line.spec == options.spec)
    }

    @Test func `a program's line is the program that the same options start`() throws {
        let line = try line(
            #"{"program":["./sort","-n"],"env":{"A":"b=c"},"file":{"/etc/hosts":"hosts"},"root":"tree","scratch":"1MiB","clock":"fixed","#
                + #""seed":7,"memory":"32MiB","cpu_time":"1s","stdin":"in","label":"s"}"#)
        guard case .program(let request, let limits) = line.work else {
            Issue.record("no program")
            return
        }
        #expect(request.program == "./sort" && request.arguments == ["-n"] && request.directory == "/jobs")
        #expect(request.root == "/jobs/tree" && request.items == [FileItem(guest: "/etc/hosts", host: "/jobs/hosts")])
        #expect(request.environment["A"] == "b=c" && line.input == .file("/jobs/in") && line.label == "s")
        #expect(limits.scratch == 1 << 20 && limits.clock == .fixed && limits.seed == 7 && limits.memory == 32 << 20)
        #expect(limits.cpuTime == .seconds(1) && limits.wallTime == nil)
    }

    @Test func `paths are from the manifest's folder`() throws {
        let line = try line(#"{"image":"a.bin","memory_at":{"0x8000":"@b.bin","0x9000":"0a ff"},"stdin":"/c"}"#)
        guard case .image(let source, let pieces, _) = line.work else {
            Issue.record("no image")
            return
        }
        #expect(source == .file("/jobs/a.bin") && line.image == "a.bin" && line.input == .file("/c"))
        #expect(pieces.map(\.source) == [.file("/jobs/b.bin"), .hex("0a ff")])
        #expect(pieces.map(\.address) == [0x8000, 0x9000])
    }

    @Test func `a kernel's fields are those of its start`() throws {
        let line = try line(
            #"{"image":"k","format":"multiboot","append":"a b","module":["m","/n"],"memory":"2MiB","set":{"eax":7}}"#)
        guard case .image(_, _, let start) = line.work else {
            Issue.record("no image")
            return
        }
        #expect(
            start.format == .multiboot && start.commandLine == "a b" && start.modules.map(\.path) == ["/jobs/m", "/n"])
        #expect(start.modules.map(\.text) == ["m", "/n"], "wherever the manifest is")
        #expect(start.memoryBytes == 2 << 20 && start.registers.count == 1 && start.mode == nil)
    }

    @Test(arguments: [
        (#"{"hex":"f4","step":3}"#, 13, "step", "steps"),
        (#"{"hex":"f4","steps":"many"}"#, 21, "steps", "is not a number"),
        (#"{"hex":"f4","steps":-3}"#, 21, "steps", "no whole number"),
        (#"{"hex":"f4","steps":true}"#, 21, "steps", "it is true or false: write a number"),
        (#"{"hex":"f4","wall_time":3}"#, 25, "wall_time", "no unit"),
        (#"{"label":"é","hex":"f"}"#, 20, "hex", "two digits"),
        (#"{"hex":"f4","set":{"ax":70000}}"#, 25, "set", "does not fit in ax"),
        (#"{"hex":"f4","set":["ax=2"]}"#, 19, "set", "an object of names"),
        (#"{"hex":"f4","mode":"linux"}"#, 20, "mode", "kvmjob run"),
        (#"{"hex":"f4","format":"exe"}"#, 22, "format", "boot-sector"),
        (#"{"hex":"f4","module":"a"}"#, 22, "module", "a list of strings"),
        (#"{"program":["ls"],"append":"a"}"#, 28, "append", "for images"),
        (#"{"hex":"f4","priority":10}"#, 24, "priority", "\"priority\" takes 0 to 9"),
        (#"{"hex":"f4","image":"a"}"#, 21, "image", "exclude each other"),
        (#"{"image":"-"}"#, 10, "image", "standard input"),
        (#"{"program":["ls"],"steps":3}"#, 27, "steps", "for images"),
        (#"{"hex":"f4","root":"/"}"#, 20, "root", "goes with a \"program\""),
        (#"{"program":[]}"#, 12, "program", "the program and its arguments"),
        (#"{"program":"ls"}"#, 12, "program", "a list of strings"),
        (#"{"hex":"f4","trace":true}"#, 13, "trace", "no field of a manifest"),
        (#"{"hex":"f4","stdin":"a","stdin_text":"b"}"#, 38, "stdin_text", "exclude"),
        (#"{"hex":"f4","output-limit":1}"#, 13, "output-limit", "write \"output_limit\""),
        (#"{"program":["ls"],"env":{"A":1}}"#, 30, "env", "a string"),
    ])
    func `what is wrong is told by line, column and field`(text: String, column: Int, field: String, message: String) {
        let problem = problem(text)
        #expect(problem?.line == 7 && problem?.column == column && problem?.field == field)
        #expect(problem?.message.contains(message) == true, "\(problem?.text ?? "")")
    }

    @Test(arguments: [
        (#"{"steps":3}"#, "nothing to run"), (#"[1]"#, "write an object"),
        (#"{"hex":"f4","entry":3,"set":{"ip":2}}"#, "\"entry\" and \"set\""),
        (#"{"memory_at":{"0x100":"f4"}}"#, "\"entry\""), (#"{"from":"00"}"#, "64 digits"),
    ])
    func `what is wrong with a line as a whole is told in the words of fields`(text: String, message: String) {
        #expect(problem(text)?.message.contains(message) == true)
    }

    @Test func `every option of submit and run is a field, or left out for a reason`() throws {
        var options: Set<String> = []
        for command in ["submit", "run"] {
            let help = KVMJobCommand.helpMessage(
                for: command == "submit" ? SubmitCommand.self : RunCommand.self, includeHidden: true, columns: 10_000)
            for match in help.matches(of: /(?m)^  (?:-\w, )?--([a-z-]+)/) { options.insert(String(match.1)) }
        }
        options.subtract(["help", "version"])
        let fields = Set(ManifestField.allCases.map { $0.rawValue.replacing("_", with: "-") })
        // What has no dashes on a command line, and what only a line of JSON can have.
        let own: Set = ["image", "program", "stdin-text", "label"]
        #expect(options.count > 30)
        #expect(options.subtracting(fields) == Set(ManifestField.leftOut.keys))
        #expect(fields.subtracting(options) == own)
    }
}

@Suite struct ManifestReaderTests {
    private func lines(_ text: String, limit: Int = 100) async throws -> [ManifestReader.RawLine] {
        let path = NSTemporaryDirectory() + "manifest-\(UUID().uuidString)"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        var reader = ManifestReader(try ByteSource(path: path), bytesLimit: limit)
        var lines: [ManifestReader.RawLine] = []
        while let line = try await reader.next() { lines.append(line) }
        return lines
    }

    @Test func `blank lines count and mean nothing, and a last line needs no end`() async throws {
        let lines = try await lines("a\n\n  \t\r\nb\r\nc")
        #expect(lines.map(\.number) == [1, 4, 5] && lines.map(\.hasEnd) == [true, true, false])
        #expect(lines.map { $0.bytes.map { String(decoding: $0, as: UTF8.self) } } == ["a", "b\r", "c"])
    }

    @Test func `a line that is too long is told of, and the next one is read`() async throws {
        let most = String(repeating: "x", count: 100)
        let lines = try await lines("\(most)\n\(most)y\nz\n\(String(repeating: "w", count: 300_000))\nv")
        #expect(lines.map { $0.bytes?.count } == [100, nil, 1, nil, 1] && lines.map(\.number) == [1, 2, 3, 4, 5])
    }

    @Test func `lines across pieces come whole`() async throws {
        let text = (0..<30_000).map { "line \($0)" }
        let lines = try await lines(text.joined(separator: "\n"))
        #expect(lines.compactMap(\.bytes).map { String(decoding: $0, as: UTF8.self) } == text)
    }
}

@Suite struct ManifestCheckTests {
    private func check(_ text: String, files: [String] = []) async throws -> ManifestCheck {
        let folder = NSTemporaryDirectory() + "check-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for file in files { try Data([0xF4]).write(to: URL(fileURLWithPath: "\(folder)/\(file)")) }
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/m"))
        return try await ManifestCheck(Manifest(path: "\(folder)/m"))
    }

    @Test func `files that are missing are told by field`() async throws {
        let found = try await check(
            """
            {"image":"a"}
            {"image":"b"}

            {"hex":"f4","stdin":"c"}
            {"program":["./d"],"file":{"/e":"e"}}
            {"image":"."}
            {"program":["no-such-program-anywhere"]}
            """, files: ["a"])
        #expect(found.jobs == 6 && found.problems.map(\.line) == [2, 4, 5, 5, 6, 7])
        #expect(found.problems.map(\.field) == ["image", "stdin", "file", "program", "image", "program"])
    }

    @Test func `as many problems as one can read are shown, and the others are counted`() async throws {
        let found = try await check(String(repeating: "{}\n", count: ManifestCheck.shownLimit + 5))
        #expect(found.report?.count == ManifestCheck.shownLimit + 1 && found.report?.last == "kvmjob: and 5 more")
        #expect(try await check("{\"hex\":\"f4\"}").report == nil)
    }
}
