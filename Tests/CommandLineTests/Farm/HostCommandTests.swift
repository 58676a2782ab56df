// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import kvmjob

@Suite("Programs of this machine", .timeLimit(.minutes(1)))
struct HostCommandTests {
    @Test func `what a program prints, says and ends with comes apart`() async throws {
        let answer = try await HostCommand.run(["sh", "-c", "echo out; echo \"$1\" >&2; exit 3", "sh", "a 'b' $c"])
        #expect(answer == .init(status: 3, output: "out\n", errors: "a 'b' $c\n"))
        #expect(answer.complaint == "a 'b' $c")
    }

    @Test func `one that says much on both streams does not stand still`() async throws {
        let answer = try await HostCommand.run(
            ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' e >&2; head -c 3000000 /dev/zero | tr '\\0' o"])
        #expect(answer.status == 0 && answer.output.utf8.count == 3_000_000 && answer.errors.utf8.count == 3_000_000)
    }

    @Test func `one that a signal ends has its number`() async throws {
        #expect(try await HostCommand.run(["sh", "-c", "kill -KILL $$"]).status == 128 + 9)
    }

    @Test(arguments: [("kvmjob-no-such-command", "slurm-client"), ("kvmjob-none-either", "install")])
    func `one that is not there is told with what to install`(name: String, part: String) async {
        await #expect {
            try await HostCommand.run([name])
        } throws: { error in
            let message = (error as? CommandFailure)?.message ?? ""
            return message.contains("no \(name) in PATH") && message.contains(part)
        }
    }
}

@Suite("Options of batches on many machines")
struct FarmOptionsTests {
    @Test(arguments: [
        (["--via", "parallel"], "needs --hosts"), (["--via", "slurm", "--hosts", "a"], "goes with --via parallel"),
        (["--hosts", "a"], "go with --via"), (["--spool", "a"], "go with --via"),
        (["--via", "parallel", "--hosts=-oProxyCommand=x"], "hyphen"),
        (["--via", "parallel", "--hosts", "a;b"], "names no machine"),
        (["--via", "parallel", "--hosts", "a", "--no-gres"], "go with --via slurm"),
        (["--via", "slurm", "--slots", "0"], "--slots takes"),
        (["--via", "slurm", "--chunk-seconds", "0"], "takes 1 to"),
        (["--via", "slurm", "--slurm-option=partition"], "begins with a hyphen"),
        (["--via", "slurm", "--job-time", "0s"], "more than nothing"),
    ])
    func `what makes no sense is told`(words: [String], part: String) {
        #expect {
            try FarmOptions.parse(words)
        } throws: { error in
            FarmOptions.message(for: error).contains(part)
        }
    }

    @Test func `machines are names as ssh has them`() throws {
        let options = try FarmOptions.parse(["--via", "parallel", "--hosts", "a,bob@b.example"])
        #expect(options.hostList == ["a", "bob@b.example"] && options.workerProgram == "kvmjob")
    }

    @Test func `the spool is beside the results`() throws {
        let options = try FarmOptions.parse(["--via", "slurm"])
        let tell: @Sendable ([String]) async -> Void = { _ in }
        let farm = try options.farm(out: "/a/r.jsonl", retries: 0, earlier: .refuse, tell: tell)
        #expect(farm?.spool.folder == "/a/r.jsonl.spool")
        #expect(throws: CommandFailure.self) { try options.farm(out: nil, retries: 0, earlier: .refuse, tell: tell) }
        #expect(try FarmOptions.parse([]).farm(out: nil, retries: 0, earlier: .refuse, tell: tell)?.spool == nil)
    }
}
