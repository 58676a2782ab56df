// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import ArgumentParser
import Foundation
import JobModel
import JobProtocol
import Testing

@testable import kvmjob

private struct ProgramOptionsCommand: ParsableCommand {
    @OptionGroup var options: ProgramOptions
}

@Suite struct ProgramOptionsTests {
    private func parse(_ arguments: String...) throws -> ProgramRequest {
        try ProgramOptionsCommand.parse(arguments).options.request(caller: ["PATH": "/bin", "A": "1"])
    }

    @Test func `a program's arguments are its own`() throws {
        for arguments in [
            ["--root", "r", "--", "./a", "-x", "--root", "--"], ["--root", "r", "./a", "-x", "--root", "--"],
        ] {
            let request = try ProgramOptionsCommand.parse(arguments).options.request(caller: [:])
            #expect(request.root == "r" && request.program == "./a", "\(arguments)")
            #expect(request.arguments == ["-x", "--root", "--"], "\(arguments)")
        }
        #expect(try parse("--", "-a").program == "-a")
    }

    @Test func `files and variables come in their order`() throws {
        let request = try parse(
            "--file", "/a=b", "--file", "c", "--env", "A", "--env", "B=2=3", "--env", "HOME=/h", "--env", "C=", "x")
        #expect(request.items == [FileItem(guest: "/a", host: "b"), FileItem(guest: nil, host: "c")])
        #expect(
            request.environment.entries
                == ["PATH=\(GuestEnvironment.defaultPath)", "HOME=/h", "LANG=C.UTF-8", "A=1", "B=2=3", "C="])
        #expect(request.callerPath == "/bin")
        #expect(try parse("x").environment.entries.map { $0.prefix { $0 != "=" } } == ["PATH", "HOME", "LANG"])
    }

    @Test(arguments: [
        ([String](), "Name a program"), (["--"], "Name a program"), (["--", ""], "Name a program"),
        (["--rot", "x", "y"], "Unknown option"), (["--root", "", "x"], "--root needs"),
        (["--env", "=1", "x"], "has no name"),
        (["--env", "", "x"], "has no name"), (["--file", "a=", "x"], "lacks one of its paths"),
        (["x", "a\u{0}"], "no NUL"),
    ])
    func `wrong usage is told, with status 64`(arguments: [String], reason: String) {
        let error = #expect(throws: (any Error).self) { try ProgramOptionsCommand.parse(arguments) }
        guard let error else { return }
        #expect(ProgramOptionsCommand.fullMessage(for: error).contains(reason), "\(arguments)")
        #expect(ProgramOptionsCommand.exitCode(for: error) == .validationFailure, "\(arguments)")
    }

    @Test func `a variable that is not set here is told`() throws {
        let error = #expect(throws: ValidationError.self) { try parse("--env", "NOT_SET", "x") }
        #expect(error?.message.contains("NOT_SET is not set here") == true)
    }
}

@Suite struct ProgramRequestTests {
    private let folder: ProgramFolder

    init() throws { folder = try ProgramFolder() }

    private func paths(_ image: Image) throws -> Set<String> {
        Set(try TarIndex(image.bytes, name: "layer").entries.map(\.path.text))
    }

    @Test func `a name is looked for in the caller's PATH`() throws {
        let script = try folder.write("bin/tool", "#!/bin/sh\necho hi\n", mode: 0o755)
        try folder.write("first/tool", "not executable")
        let request = ProgramRequest(
            program: "tool", arguments: ["a"], callerPath: "\(folder.path)/first:\(folder.path)/bin")
        let submission = try request.submission()
        #expect(submission.program == script && submission.arguments == ["tool", "a"])
        #expect(submission.layers.count == 2, "the interpreter's, and above it the script's")
        #expect(try paths(submission.layers[1]) == [script])
        #expect(
            try paths(submission.layers[0]).contains("/lib64/ld-linux-x86-64.so.2")
                || paths(submission.layers[0]).contains("/lib64"))
        let missing = failure { try ProgramRequest(program: "no-such-tool", callerPath: folder.path).submission() }
        #expect(missing?.status == 127 && missing?.message.contains("in no directory of PATH") == true)
        #expect(failure { try ProgramRequest(program: "\(folder.path)/none").submission() }?.status == 127)
    }

    @Test func `with a root a name is the root's, and its libraries are its own`() throws {
        try folder.write("root/usr/bin/tool", "whatever it is", mode: 0o755)
        try folder.link("root/bin", to: "usr/bin")
        let root = "\(folder.path)/root"
        let submission = try ProgramRequest(root: root, program: "tool").submission()
        #expect(submission.program == "/usr/bin/tool" && submission.layers.count == 1)
        #expect(try paths(submission.layers[0]) == ["/bin", "/usr", "/usr/bin", "/usr/bin/tool"])
        #expect(try ProgramRequest(root: root, program: "/bin/tool").submission().program == "/bin/tool")
        #expect(failure { try ProgramRequest(root: root, program: "bash").submission() }?.status == 127)
        // What the root does not have is brought, into the root's own directories.
        let brought = try ProgramRequest(root: root, program: "/bin/true").submission()
        #expect(brought.layers.count == 2 && brought.layers[0] == submission.layers[0])
        #expect(try paths(brought.layers[1]).contains("/usr/bin/true"))
    }

    @Test func `an archive is a root as it is`() throws {
        try folder.write("root/bin/tool", "x", mode: 0o755)
        let tar = "\(folder.path)/root.tar"
        _ = try output(of: "/usr/bin/tar", "-cf", tar, "-C", "\(folder.path)/root", ".")
        let submission = try ProgramRequest(root: tar, program: "tool").submission()
        #expect(try submission.layers.map(\.bytes) == [HostFile.read(tar, limit: 1 << 20)])
        #expect(submission.layers[0].digest == ContentDigest(hashing: submission.layers[0].bytes))
        #expect(
            failure { try ProgramRequest(root: "/bin/true", program: "x").submission() }?.message.contains(
                "no tar archive") == true)
        #expect(
            failure { try ProgramRequest(root: tar, program: "tool").submission(limit: 100) }?.message.contains(
                "larger than 100 bytes") == true)
    }

    @Test func `an item can be the program, and brings what it needs`() throws {
        var request = ProgramRequest(program: "/opt/mine", arguments: [])
        request.items = [FileItem(guest: "/opt/mine", host: "/bin/true")]
        let submission = try request.submission()
        #expect(submission.program == "/opt/mine" && submission.layers.count == 2)
        #expect(try paths(submission.layers[1]) == ["/opt/mine"])
        #expect(try paths(submission.layers[0]).contains { $0.hasSuffix("/libc.so.6") })
        #expect(try !paths(submission.layers[0]).contains { $0.hasSuffix("/true") })
    }

    @Test func `a script by way of env brings the program that env starts`() throws {
        let script = try folder.write("s", "#!/usr/bin/env bash\n", mode: 0o755)
        let layers = try ProgramRequest(program: script).submission().layers
        let found = try paths(layers[0])
        #expect(found.contains("/usr/bin/env") && found.contains { $0.hasSuffix("/bin/bash") })
        let wrong = try folder.write("w", "#!/usr/bin/env no-such-program\n", mode: 0o755)
        #expect(
            failure { try ProgramRequest(program: wrong).submission() }?.message.contains("asks for no-such-program")
                == true)
        let lost = try folder.write("l", "#!/nonexistent/sh\n", mode: 0o755)
        #expect(
            failure { try ProgramRequest(program: lost).submission() }?.message.contains(
                "needs the interpreter \"/nonexistent/sh\"") == true)
    }

    @Test func `scripts of scripts end`() throws {
        let names = (0...8).map { "\(folder.path)/s\($0)" }
        for (name, next) in zip(0..., names.dropFirst()) { try folder.write("s\(name)", "#!\(next)\n", mode: 0o755) }
        try folder.write("s8", "#!/bin/sh\n", mode: 0o755)
        #expect(
            failure { try ProgramRequest(program: names[0]).submission() }?.message.contains("script of a script")
                == true)
        #expect(try ProgramRequest(program: names[6]).submission().layers.count == 2)
    }

    @Test func `the same program is the same layer, whatever lies above`() throws {
        let plain = try ProgramRequest(program: "/bin/bash").submission()
        var request = ProgramRequest(program: "/bin/bash")
        request.items = [FileItem(guest: "/data", host: try folder.write("d", "1"))]
        let other = try request.submission()
        #expect(plain.layers[0].digest == other.layers[0].digest && other.layers.count == 2)
        #expect(try ProgramRequest(program: "/bin/bash").submission().layers[0] == plain.layers[0])
    }
}
