// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import LinuxPersonality
import Testing

@testable import VMRuntime

/// Programs for the tests, from C source by the machine's own compiler.
enum Compiler {
    static let isThere = FileManager.default.isExecutableFile(atPath: "/usr/bin/gcc")

    struct Failed: Error { let message: String }

    /// The bytes of a program.
    static func compile(_ source: String, _ options: [String] = ["-static", "-O1"]) throws -> [UInt8] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (code, program) = (folder.appending(path: "a.c"), folder.appending(path: "a"))
        try source.write(to: code, atomically: true, encoding: .utf8)
        let process = Process()
        let errors = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/gcc")
        process.arguments = options + ["-o", program.path, code.path]
        process.standardError = errors
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failed(message: String(decoding: errors.fileHandleForReading.availableData, as: UTF8.self))
        }
        return Array(try Data(contentsOf: program))
    }
}

extension Run {
    /// Runs a program that is the only file.
    static func program(
        _ bytes: [UInt8], _ arguments: [String] = ["a"], environment: [String] = [], input: [UInt8] = [],
        budget: Budget = Budget(), memoryBytes: UInt64 = 32 << 20, slot: Slot? = nil
    ) async throws -> Run {
        let file = try #require(FileTree(files: [(path: "bin/a", content: FileBytes(bytes), mode: 0o755)]))
        let spec = ProgramSpec(
            path: Array("/bin/a".utf8), arguments: arguments.map { Array($0.utf8) },
            environment: environment.map { Array($0.utf8) })
        let start = try StartingPoint(program: spec, files: [file], memoryBytes: memoryBytes)
        let job = try AdmittedJob(
            start, spec: JobSpec(mode: .linux, memoryBytes: memoryBytes, budget: budget),
            on: Hardware.backend.get().profile)
        return try await of(job, input: input, slot: slot)
    }

    var errors: String {
        let bytes = events.flatMap { event -> [UInt8] in
            guard case .output(.standardError, let bytes) = event else { return [] }
            return bytes
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

@Suite(
    "Linux programs", .enabled(if: Hardware.isThere, "no usable /dev/kvm"),
    .enabled(if: Compiler.isThere, "no gcc: apt install gcc"))
struct ProgramRunTests {
    @Test func `a program says hello and passes its status on`() async throws {
        let program = try Compiler.compile(
            #"""
            #include <stdio.h>
            int main(int c, char **v) {
                printf("hello %s %d\n", v[1], c);
                fprintf(stderr, "oops\n");
                return 3;
            }
            """#)
        let run = try await Run.program(program, ["a", "world"])
        #expect(run.text == "hello world 2\n" && run.errors == "oops\n")
        #expect(try run.result.outcome == .exited(code: 3))
        let report = try #require(try run.result.program)
        #expect(report.signal == nil && report.systemCalls > 3)
    }

    @Test func `a null pointer is a segmentation fault with its address and place`() async throws {
        let program = try Compiler.compile(
            """
            __attribute__((noinline)) int get(int *p) { return p[6]; }
            int main(int c, char **v) { return get((int *)(long)(c - 1)); }
            """)
        let result = try await Run.program(program).result
        guard case .faulted(let fault) = result.outcome else {
            Issue.record("\(result.outcome)")
            return
        }
        #expect(fault.vector == 14 && fault.address == 0x18)
        #expect(result.program?.signal == 11 && result.program?.place?.hasPrefix("get+0x") == true)
    }

    @Test func `input is read to its end`() async throws {
        let program = try Compiler.compile(
            """
            #include <unistd.h>
            int main() {
                char b[4096];
                long n, s = 0;
                while ((n = read(0, b, 4096)) > 0) { s += n; write(1, b, n); }
                return s == 10000 ? 0 : 1;
            }
            """)
        let input = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        let run = try await Run.program(program, input: input)
        #expect(run.console == input)
        #expect(try run.result.outcome == .exited(code: 0))
    }
}
