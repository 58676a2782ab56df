// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct RunCommandTests {
    private let submission = ProgramSubmission(
        layers: [], program: "/bin/sort", arguments: ["sort", "-r"], environment: ["HOME=/"], warnings: [])

    @Test func `without options a program has what the defaults say, and as long as the worker allows`() throws {
        let command = try RunCommand.parse(["--", "sort", "-r"])
        let spec = command.limits.spec(submission, hasInput: true, longest: .seconds(77))
        var expected = JobSpec(
            label: "sort", mode: .linux, memoryBytes: 256 << 20, budget: Budget(wallTime: .seconds(77)), hasInput: true)
        expected.program = ProgramSpec(
            path: Array("/bin/sort".utf8), arguments: [Array("sort".utf8), Array("-r".utf8)],
            environment: [Array("HOME=/".utf8)])
        #expect(spec == expected)
    }

    @Test func `every option reaches the job`() throws {
        let command = try RunCommand.parse([
            "--cpu-time", "2s", "--wall-time", "3s", "--memory", "64MiB", "--scratch", "1MiB", "--output-limit", "5",
            "--clock", "fixed", "--seed", "0x10", "--", "sort",
        ])
        let spec = command.limits.spec(submission, hasInput: false, longest: .seconds(77))
        #expect(spec.budget == Budget(wallTime: .seconds(3), cpuTime: .seconds(2), outputBytes: 5))
        #expect(spec.memoryBytes == 64 << 20 && !spec.hasInput)
        #expect(spec.program?.clock == .fixed && spec.program?.seed == 16 && spec.program?.scratchBytes == 1 << 20)
    }

    @Test func `what follows the program is its own`() throws {
        let command = try RunCommand.parse(["--memory", "1MiB", "ls", "--memory", "-x"])
        #expect(command.limits.memory == 1 << 20 && command.program.name == "ls")
        #expect(command.program.command == ["ls", "--memory", "-x"])
    }

    @Test(arguments: [
        (["--clock", "wrong", "a"], "write real or fixed"), (["--seed", "x", "a"], "not a number"),
        (["--memory", "1MB", "a"], "not a unit"), (["--cpu-time", "5", "a"], "no unit"), ([String](), "Name a program"),
    ])
    func `wrong usage is told, with status 64`(arguments: [String], reason: String) {
        let error = #expect(throws: (any Error).self) { try RunCommand.parse(arguments) }
        guard let error else { return }
        #expect(RunCommand.fullMessage(for: error).contains(reason))
        #expect(RunCommand.exitCode(for: error) == .validationFailure)
    }

    @Test func `images are not started as programs, nor programs as images`() throws {
        let error = #expect(throws: (any Error).self) { try SubmitCommand.parse(["--mode", "linux", "--hex", "f4"]) }
        #expect(error.map { SubmitCommand.fullMessage(for: $0).contains("kvmjob run") } == true)
        let job = Data(try JobDescription(spec: JobSpec(mode: .linux), image: [0xF4], input: nil).json)
        let wrong = #expect(throws: DecodingError.self) { try JSONDecoder().decode(JobDescription.self, from: job) }
        #expect(wrong.map { "\($0)".contains("Linux program") } == true)
    }
}

@Suite struct ProgramEndTests {
    private func end(_ outcome: Outcome, _ report: ProgramReport? = ProgramReport(), verbose: Bool = false)
        -> ProgramEnd
    {
        var result = JobResult(outcome: outcome)
        result.program = report
        return ProgramEnd(.ended(result), name: "./a", isVerbose: verbose)
    }

    @Test(arguments: [
        (Outcome.exited(code: 0), Int32(0)), (.exited(code: 255), 255), (.exited(code: 256), 0),
        (.exhausted(.wallTime, limit: 1, used: 2), 124), (.waitExpired(limit: 1), 124), (.hostError("x"), 125),
        (.cancelled(by: .client), 130), (.cancelled(by: .drain), 125), (.cancelled(by: .disconnect), 125),
        (.tripleFault, 1), (.faulted(Fault(vector: 14, errorCode: 4, address: 0, rip: 0)), 139),
        (.faulted(Fault(vector: 13, errorCode: 0, address: nil, rip: 0)), 139),
        (.faulted(Fault(vector: 0, errorCode: nil, address: nil, rip: 0)), 136),
        (.faulted(Fault(vector: 6, errorCode: nil, address: nil, rip: 0)), 132),
        (.faulted(Fault(vector: 3, errorCode: nil, address: nil, rip: 0)), 133),
        (.faulted(Fault(vector: 17, errorCode: nil, address: nil, rip: 0)), 135),
    ])
    func `an outcome has a shell's status`(outcome: Outcome, status: Int32) {
        #expect(end(outcome).status == status)
    }

    @Test func `the signal that a fault became counts, not the exception`() {
        let fault = Outcome.faulted(Fault(vector: 14, errorCode: 4, address: 0x1000, rip: 2))
        #expect(end(fault, ProgramReport(signal: 7)).status == 135)
        #expect(end(fault, ProgramReport(signal: 7)).lines == ["kvmjob: bus error at 0x1000, RIP 0x2 (signal 7)"])
    }

    @Test func `a fault is told as a shell has it, with its place`() {
        let fault = Fault(vector: 14, errorCode: 4, address: 0x18, rip: 0x401136)
        #expect(
            end(.faulted(fault), ProgramReport(signal: 11, place: "main+0x14")).lines
                == ["kvmjob: segmentation fault at 0x18, RIP 0x401136 in main+0x14 (signal 11)"])
    }

    @Test func `a signal is told, but for an interrupt and a broken pipe`() {
        #expect(end(.exited(code: 134), ProgramReport(signal: 6)).lines == ["kvmjob: aborted (signal 6)"])
        #expect(end(.exited(code: 168), ProgramReport(signal: 40)).lines == ["kvmjob: ended by a signal (signal 40)"])
        for signal in [2, 13] as [UInt8] {
            #expect(end(.exited(code: 128 + UInt32(signal)), ProgramReport(signal: signal)).lines.isEmpty)
        }
        #expect(end(.exited(code: 134)).lines.isEmpty, "a program may pass on such a status itself")
    }

    @Test(arguments: [
        (BudgetKind.cpuTime, UInt64(5_000_000), "out of processor time: the budget was 5 ms"),
        (.wallTime, 10_000_000_000, "out of time: the budget was 10 s"),
        (.memory, 1 << 20, "out of memory: the limit was 1 MiB"),
        (.output, 1024, "too much output: the limit was 1 KiB"),
        (.exits, 7, "out of exits: the budget was 7"),
    ])
    func `what ran out is told`(kind: BudgetKind, limit: UInt64, text: String) {
        #expect(end(.exhausted(kind, limit: limit, used: limit)).lines == ["kvmjob: \(text)"])
    }

    @Test func `calls that nothing serves are named where the program failed, or on request`() {
        let report = ProgramReport(unknownCalls: [101, 9999])
        let line = "kvmjob: ./a made system calls that nothing serves here: ptrace, number 9999"
        #expect(end(.exited(code: 0), report).lines.isEmpty)
        #expect(end(.exited(code: 0), report, verbose: true).lines == [line])
        #expect(end(.exited(code: 1), report).lines == [line])
        #expect(end(.cancelled(by: .client)).lines.isEmpty)
    }

    @Test func `what never ran is told with its reason`() {
        let refused = ProgramEnd(.refused(Rejection(code: "program-unusable", message: "no")), name: "./a")
        #expect(refused.status == 126 && refused.lines == ["kvmjob: ./a: no"])
        let lost = ProgramEnd(.lost("gone"), name: "./a")
        #expect(lost.status == 125 && lost.lines == ["kvmjob: ./a: lost: gone"])
    }
}

private let gcc = "/usr/bin/gcc"
private let canRun = access("/dev/kvm", R_OK | W_OK) == 0 && FileManager.default.isExecutableFile(atPath: gcc)

/// The whole way: command line, files, embedded worker, virtual machine, and back.
@Suite(.enabled(if: canRun, "needs /dev/kvm and gcc: apt-get install gcc libc6-dev"), .timeLimit(.minutes(2)))
struct ProgramRunTests {
    private let folder: ProgramFolder
    private let program: String

    init() throws {
        folder = try ProgramFolder()
        let source = try folder.write(
            "a.c",
            #"""
            #include <stdio.h>
            #include <string.h>
            #include <unistd.h>
            int main(int count, char **v) {
                const char *what = count > 1 ? v[1] : "";
                if (!strcmp(what, "fault")) *(volatile int *)0x18 = 1;
                if (!strcmp(what, "loop")) for (;;);
                if (!strcmp(what, "flood")) for (;;) puts("y");
                if (!strcmp(what, "cat")) {
                    static char bytes[4096];
                    ssize_t n;
                    while ((n = read(0, bytes, sizeof bytes)) > 0) write(1, bytes, n);
                    return 0;
                }
                if (!strcmp(what, "call")) { syscall(9999); return 1; }
                for (int i = 1; i < count; i++) printf("[%s]", v[i]);
                fflush(stdout);
                fprintf(stderr, "no newline");
                return 3;
            }
            """#)
        program = "\(folder.path)/a"
        _ = try output(of: gcc, "-static", "-O1", "-o", program, source)
    }

    private func run(_ arguments: String..., input: String = "/dev/null") async throws -> (
        status: Int32, output: String, errors: String
    ) {
        let command = try RunCommand.parse(arguments)
        let (written, said) = (Pipe(), Pipe())
        let console = Console(
            output: ByteSink(written.fileHandleForWriting, name: "output"),
            messages: ByteSink(said.fileHandleForWriting, name: "messages"), isTerminal: false)
        let program = FreshProgram(options: command.program, limits: command.limits)
        let run = ProgramRun(program: program, console: console, isVerbose: command.verbose, input: input)
        let status = try await run.run(on: .embedded)
        try written.fileHandleForWriting.close()
        try said.fileHandleForWriting.close()
        let text = { (pipe: Pipe) in
            String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        }
        return (status, try text(written), try text(said))
    }

    @Test func `arguments go in, both streams and the status come out`() async throws {
        let end = try await run("--", program, "one", "--two", "")
        #expect(end == (3, "[one][--two][]", "no newline"))
    }

    @Test func `a program that is linked when it starts comes with its linker and its libraries`() async throws {
        let dynamic = "\(folder.path)/dynamic"
        _ = try output(of: gcc, "-O1", "-o", dynamic, "\(folder.path)/a.c")
        let end = try await run("--", dynamic, "one")
        #expect(end == (3, "[one]", "no newline"))
    }

    @Test func `standard input is the program's`() async throws {
        let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: 0x20 + $0 % 64) }
        let file = try folder.write("input", bytes.prefix(50_000).map { $0 })
        let end = try await run("--", program, "cat", input: file)
        #expect(end.status == 0 && end.output == String(decoding: bytes.prefix(50_000), as: UTF8.self))
    }

    @Test func `a fault has a shell's status and a line of its own`() async throws {
        let end = try await run("--", program, "fault")
        #expect(end.status == 139)
        #expect(end.errors.hasPrefix("kvmjob: segmentation fault at 0x18, RIP 0x"))
        #expect(end.errors.contains(" in main+0x") && end.errors.hasSuffix(" (signal 11)\n"))
    }

    @Test func `budgets end a program and are told`() async throws {
        let loop = try await run("--cpu-time", "50ms", "--", program, "loop")
        #expect(loop.status == 124 && loop.errors == "kvmjob: out of processor time: the budget was 50 ms\n")
        let flood = try await run("--output-limit", "1KiB", "--", program, "flood")
        #expect(flood.status == 124 && flood.errors == "kvmjob: too much output: the limit was 1 KiB\n")
    }

    @Test func `a call that nothing serves is named`() async throws {
        let end = try await run("--", program, "call")
        #expect(end.status == 1 && end.errors.contains("that nothing serves here: number 9999"))
    }

    @Test func `what cannot be run is told, with the statuses of shells`() async throws {
        let text = try folder.write("text", "no program", mode: 0o755)
        for (name, status) in [("\(folder.path)/none", ExitStatus.notFound), (text, ExitStatus.cannotRun)] {
            let failure = await #expect(throws: CommandFailure.self) { try await run("--", name) }
            #expect(failure?.status == status)
        }
        let refused = try await run("--memory", "4KiB", "--", program)
        #expect(refused.status == ExitStatus.cannotRun && refused.errors.contains("guest memory of 4096 bytes"))
    }

    @Test func `a reader that has gone ends it as it ends cat`() async throws {
        let (written, said) = (Pipe(), try #require(FileHandle(forWritingAtPath: "/dev/null")))
        try written.fileHandleForReading.close()
        let console = Console(
            output: ByteSink(written.fileHandleForWriting, name: "output"), messages: ByteSink(said, name: "messages"),
            isTerminal: false)
        let command = try RunCommand.parse(["--", program, "flood"])
        let program = FreshProgram(options: command.program, limits: command.limits)
        let run = ProgramRun(program: program, console: console, input: "/dev/null")
        #expect(try await run.run(on: .embedded) == 141)
    }
}
