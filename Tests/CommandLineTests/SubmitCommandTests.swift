// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import ArgumentParser
import JobModel
import Testing

@testable import kvmjob

@Suite struct SubmitCommandTests {
    private func parse(_ arguments: String...) throws -> SubmitCommand {
        try SubmitCommand.parse(arguments)
    }

    @Test func `without options a job has the model's defaults`() throws {
        let command = try parse("boot.bin")
        #expect(try command.guest.spec(reportsPortWrites: false, hasInput: false) == JobSpec())
        #expect(command.presentation.style == .raw && command.jobs.isSingle)
    }

    @Test func `every option reaches the job`() throws {
        let command = try parse(
            "boot.bin", "--mode", "user64", "--load", "0x10000", "--entry", "65552", "--set", "al=1", "--set", "r9=0x2",
            "--memory", "2MiB", "--steps", "1000", "--wall-time", "300ms")
        let expected = JobSpec(
            mode: .user64, loadAddress: 0x10000, entryPoint: 65552, registers: [.rax: 1, .r9: 2], memoryBytes: 2 << 20,
            budget: Budget(steps: 1000, wallTime: .milliseconds(300)), reportsPortWrites: true, hasInput: true)
        #expect(try command.guest.spec(reportsPortWrites: true, hasInput: true) == expected)
    }

    @Test func `every budget and the meter reach the job`() throws {
        let command = try parse(
            "boot.bin", "--cpu-time", "5ms", "--exits", "100", "--output-limit", "64KiB", "--touched-memory", "1MiB",
            "--meter", "stepped")
        var expected = JobSpec(
            budget: Budget(cpuTime: .milliseconds(5), exits: 100, outputBytes: 64 << 10, touchedBytes: 1 << 20))
        expected.meter = .stepped
        #expect(try command.guest.spec(reportsPortWrites: false, hasInput: false) == expected)
    }

    @Test func `a job from a snapshot says nothing of its start`() throws {
        let command = try parse("--from", Self.name, "--steps", "5", "--digest", "--repeat", "2")
        let submission = try command.submission(console: .standard)
        let name = try #require(ContentDigest([UInt8](repeating: 10, count: 32)))
        #expect(submission.jobs.images.map(\.source) == [.snapshot(name)])
        #expect(submission.jobs.images.map(\.stem) == ["snapshot-0a0a0a0a"])
        var expected = JobSpec(budget: Budget(steps: 5))
        expected.report = [.digest]
        #expect(submission.spec == expected)
        let core = try parse("--from", Self.name, "--core", "c", "--memory", "2MiB").submission(console: .standard)
        #expect(core.spec.dumps == [MemoryRange(address: 0, count: 2 << 20)])
    }

    @Test func `a deterministic job asks for a digest`() throws {
        let spec = try parse("a", "--deterministic").submission(console: .standard).spec
        #expect(spec.isDeterministic && spec.report == [.digest])
        #expect(try !parse("a").submission(console: .standard).spec.isDeterministic)
    }

    @Test func `the style follows from the number of jobs and --json`() throws {
        #expect(try parse("a", "--hex", "f4").presentation.style == .prefixed)
        #expect(try parse("a", "--repeat", "2").presentation.style == .prefixed)
        #expect(try parse("a", "--json").presentation.style == .collected)
        let presentation = try parse("a", "--registers", "--port-writes", "--steps", "5").presentation
        #expect(presentation.showsRegisters && presentation.listsPortWrites && presentation.stepBudget == 5)
    }

    @Test(arguments: [
        ([String](), "Name an image"), (["a", "--repeat", "0"], "1 to 1000000"),
        (["a", "--repeat", "1000001"], "1 to 1000000"),
        (["-", "-"], "read once"), (["-", "--stdin", "-"], "read once"), (["a", "b", "--stdin", "-"], "one job only"),
        (["a", "--repeat", "2", "--stdin", "-"], "one job only"),
        (["a", "--socket", "s", "--embedded"], "exclude each other"),
        (["a", "--set", "ax=1", "--set", "al=2"], "set twice"),
        (["a", "--set", "rip=1", "--entry", "1"], "one of them"),
        (["a", "--mode", "long64", "--set", "ds=8"], "ds.base"),
        (["--memory-at", "0x1000=90"], "--entry"),
        (["--memory-at", "0x1000=90", "--entry", "1", "--load", "2"], "--load"),
        (["a", "--memory-at", "0x1000"], "ADDRESS=BYTES"), (["a", "--memory-at", "0x1000="], "no bytes"),
        (["a", "--memory-at", "x=90"], "not a number"), (["a", "--memory-at", "1=9"], "whole bytes"),
        (["a"] + (0..<1024).flatMap { ["--memory-at", "\($0)=90"] }, "1024 times"),
        (["a", "--format", "exe"], "flat, boot-sector, rom, elf, multiboot, pvh, linux"),
        (["--memory-at", "0x1000=90", "--entry", "1", "--append", "x"], "--append is for an image"),
        (["a", "--mode", "real"], "real16, protected32, long64, user64"), (["a", "--wall-time", "10"], "no unit"),
        (["a", "--memory", "1MB"], "not a unit"), (["a", "--load", "7c00h"], "not a number"),
        (["a", "--steps", "-"], "number"), (["a", "--cpu-time", "5"], "no unit"),
        (["a", "--exits", "1k"], "not a number"),
        (["a", "--output-limit", "1kB"], "not a unit"), (["a", "--meter", "fast"], "write exact, stepped"),
        (["a", "--steps", "1", "--on-exhausted", "pause", "--deterministic"], "exclude each other"),
    ])
    func `wrong usage is told, with status 64`(arguments: [String], reason: String) {
        let error = #expect(throws: (any Error).self) { try SubmitCommand.parse(arguments) }
        guard let error else { return }
        #expect(SubmitCommand.fullMessage(for: error).contains(reason))
        #expect(SubmitCommand.exitCode(for: error) == .validationFailure)
    }
}

extension SubmitCommandTests {
    /// A snapshot's.
    private static let name = String(repeating: "0a", count: 32)

    /// What goes with an image and not with a snapshot, and what is no name.
    private static let wrongBesideFrom: [(arguments: [String], reason: String)] = [
        (["a"], "takes the place"), (["--hex", "f4"], "takes the place"), (["--mode", "real16"], "--mode goes with"),
        (["--memory", "16MiB"], "--memory goes with"), (["--load", "1"], "--load goes with"),
        (["--entry", "1"], "--entry goes with"), (["--set", "ax=1"], "--set goes with"),
        (["--memory-at", "1=90"], "--memory-at goes with"), (["--deterministic"], "--deterministic goes with"),
        (["--core", "c"], "needs --memory"), (["--format", "elf"], "--format goes with"),
        (["--append", ""], "--append goes with"), (["--initrd", "a"], "--module goes with"),
    ]

    @Test func `a snapshot decides the start, and what else says something of it is told`() {
        for (arguments, reason) in Self.wrongBesideFrom { expectWrong(["--from", Self.name] + arguments, reason) }
    }

    @Test func `a kernel has a limited number of modules`() {
        let modules = [[String]](repeating: ["--module", "m"], count: 65).flatMap { $0 }
        expectWrong(["a"] + modules, "64 times")
    }

    @Test func `a snapshot's name is whole`() {
        expectWrong(["--from", "abcd"], "has 64 digits, this one has 4")
        expectWrong(["--from", Self.name + "0"], "this one has 65")
        expectWrong(["--from", "g" + Self.name.dropFirst()], "no hexadecimal digit")
    }

    private func expectWrong(_ arguments: [String], _ reason: String) {
        let error = #expect(throws: (any Error).self) { try SubmitCommand.parse(arguments) }
        guard let error else { return }
        #expect(SubmitCommand.fullMessage(for: error).contains(reason), "\(arguments)")
        #expect(SubmitCommand.exitCode(for: error) == .validationFailure, "\(arguments)")
    }
}

@Suite struct JobListTests {
    @Test func `jobs are named after their images`() {
        let list = JobList(files: ["dir/a.bin", "-"], snippets: ["f4"], repeats: 1)
        #expect(list.images.map(\.stem) == ["dir/a.bin", "stdin", "hex"] && !list.isSingle)
        #expect(list.images.map(\.source) == [.file("dir/a.bin"), .standardInput, .hex("f4")])
        #expect(JobList(files: [], snippets: ["f4", "90"], repeats: 1).images.map(\.stem) == ["hex-1", "hex-2"])
        #expect(JobList(files: ["a", "b", "a"], snippets: [], repeats: 1).images.map(\.stem) == ["a", "b", "a~2"])
    }

    @Test func `repetitions are numbered`() {
        #expect(JobList.name(stem: "a", repetition: 1, of: 1) == "a")
        #expect(JobList.name(stem: "a", repetition: 3, of: 3) == "a#3")
        #expect(JobList(files: ["a"], snippets: [], repeats: 1).isSingle)
        #expect(!JobList(files: ["a"], snippets: [], repeats: 2).isSingle)
    }

    @Test func `a label keeps the end of a long name, in whole characters`() {
        #expect(JobList.label("boot.bin") == "boot.bin")
        let label = JobList.label(String(repeating: "é", count: 70) + "#12")
        #expect(label.utf8.count == 127 && label.hasSuffix("é#12"))
    }
}

@Suite struct WorkerChoiceTests {
    private func choose(
        option: String? = nil, host: String? = nil, embedded: Bool = false, variable: String? = nil,
        hostVariable: String? = nil, defaultExists: Bool = true
    ) throws -> WorkerChoice {
        var environment = variable.map { [WorkerChoice.environmentName: $0] } ?? [:]
        environment[RemoteHost.environmentName] = hostVariable
        let host = try host.map { try RemoteHost($0) }
        return try WorkerChoice(option: option, host: host, embedded: embedded, environment: environment) {
            #expect($0 == WorkerChoice.defaultPath)
            return defaultExists
        }
    }

    @Test func `the option goes before the environment, and that before the service's place`() throws {
        #expect(try choose(option: "/a", variable: "/b") == .socket(path: "/a"))
        #expect(try choose(variable: "/b") == .socket(path: "/b"))
        #expect(try choose(variable: "") == .socket(path: WorkerChoice.defaultPath))
        #expect(try choose() == .socket(path: WorkerChoice.defaultPath))
    }

    @Test func `the worker is embedded only if asked for, or if no socket was named and there is no service`() throws {
        #expect(try choose(embedded: true, variable: "/b") == .embedded)
        #expect(try choose(defaultExists: false) == .embedded)
        #expect(try choose(variable: "", defaultExists: false) == .embedded)
        #expect(try choose(option: "/a", defaultExists: false) == .socket(path: "/a"))
        #expect(try choose(variable: "/b", defaultExists: false) == .socket(path: "/b"))
    }

    @Test func `another machine is named by the option, else by its variable, and a socket's option goes before that`()
        throws
    {
        let machine = try RemoteHost("ssh://box")
        #expect(try choose(host: "ssh://box", variable: "/b", hostVariable: "ssh://other") == .remote(machine))
        #expect(try choose(variable: "/b", hostVariable: "ssh://box") == .remote(machine))
        #expect(try choose(option: "/a", hostVariable: "ssh://box") == .socket(path: "/a"))
        #expect(try choose(embedded: true, hostVariable: "ssh://box") == .embedded)
        #expect(try choose(hostVariable: "") == .socket(path: WorkerChoice.defaultPath))
        let error = #expect(throws: ValueError.self) { try choose(hostVariable: "box") }
        #expect(error?.description.hasPrefix("$KVMJOB_HOST: \"box\" names no machine") == true)
    }
}
