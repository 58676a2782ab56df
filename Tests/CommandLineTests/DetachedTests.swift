// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import ArgumentParser
import JobModel
import JobProtocol
import KVMJobClient
import Testing

@testable import kvmjob

private let names = TenantNames { $0 == 1000 ? "alice" : nil }

private let keptJobs: [DetachedJob] = {
    var waiting = DetachedJob(id: 3, tenant: .user(1000), state: .waiting)
    (waiting.acceptedAt, waiting.title) = (1_000_000, "boot.bin")
    var ended = DetachedJob(id: 12, tenant: .user(7), state: .ended)
    (ended.run, ended.outcome, ended.acceptedAt, ended.endedAt) = (2, 2, 996_400, 1_000_050)
    (ended.outputBytes, ended.title, ended.key) = (70_000, "evil\u{1B}[2J", "week-7")
    return [waiting, ended]
}()

@Suite struct DetachedTableTests {
    @Test func `kept jobs are a table whose texts cannot move the cursor`() {
        let lines = DetachedTable(jobs: keptJobs, names: names, now: 1_000_100).lines
        #expect(lines[0].split(separator: " ").map(String.init) == DetachedTable.heading)
        #expect(lines[1] == " 3  alice  waiting    0  -         100 s   0 bytes  boot.bin")
        #expect(lines[2].contains("exited") && lines[2].hasSuffix("evil?[2J") && !lines[2].contains("\u{1B}"))
        let narrow = DetachedTable(jobs: keptJobs, names: names, now: 0, width: 20).lines
        #expect(narrow.allSatisfy { $0.count <= 20 })
    }

    @Test func `a job that was accepted in the far past, or in the future, has an age all the same`() {
        var job = keptJobs[0]
        for (accepted, now) in [(0, UInt64.max), (UInt64.max, 0)] {
            job.acceptedAt = accepted
            #expect(DetachedTable(jobs: [job], names: names, now: now).lines.count == 2)
        }
    }

    @Test func `as JSON every key is there, and null where there is nothing`() {
        let texts = keptJobs.map { String(decoding: DetachedJobJSON(job: $0, names: names).value.bytes, as: UTF8.self) }
        #expect(
            texts[0]
                == #"{"id":3,"user":1000,"user_name":"alice","state":"waiting","run":0,"outcome":null,"accepted_at":1000000,"#
                + #""ended_at":null,"output_bytes":0,"title":"boot.bin","key":null}"#)
        #expect(texts[1].contains(#""outcome":"exited","accepted_at":996400,"ended_at":1000050,"output_bytes":70000"#))
        #expect(texts[1].hasSuffix(#""key":"week-7"}"#))
    }
}

@Suite struct DetachedOptionTests {
    @Test func `a key needs a job to hand over, and one job only`() throws {
        let command = try SubmitCommand.parse(["boot.bin", "--detach", "--key", "k"])
        #expect(command.detaching.detach && command.detaching.key == "k")
        let run = try RunCommand.parse(["--detach", "--json", "--key", "k", "--", "sort", "--detach"])
        #expect(run.detaching.detach && run.json && run.program.words == ["sort", "--detach"])
        let wrong: [[String]] = [
            ["boot.bin", "--key", "k"], ["boot.bin", "--detach", "--key", ""],
            ["boot.bin", "--detach", "--key", String(repeating: "k", count: 129)],
            ["a.bin", "b.bin", "--detach", "--key", "k"], ["boot.bin", "--repeat", "2", "--detach", "--key", "k"],
        ]
        for words in wrong { #expect(throws: (any Error).self) { try SubmitCommand.parse(words) } }
        #expect(throws: (any Error).self) { try RunCommand.parse(["--json", "--", "sort"]) }
    }

    @Test(arguments: [
        ["--trace"], ["--dump", "0:4"], ["--core", "core"], ["--steps", "5", "--on-exhausted", "pause"],
        ["--from", String(repeating: "a", count: 64)],
    ])
    func `what needs somebody to see it does not go with a job that is handed over`(options: [String]) {
        let isFrom = options[0] == "--from"
        #expect(throws: (any Error).self) {
            try SubmitCommand.parse((isFrom ? [] : ["boot.bin"]) + ["--detach"] + options)
        }
    }

    @Test func `logs ask for the place and the patience that they are told`() throws {
        let plain = try LogsCommand.parse(["9"]).request
        #expect(plain.id == 9 && !plain.follows && plain.offsets.isEmpty && plain.run == nil)
        let command = try LogsCommand.parse(["9", "--follow", "--from", "4KiB", "--patience", "2m"])
        #expect(command.request.follows && command.request.offsets == [.console: 4096])
        #expect(command.patience.patience == .seconds(120))
        #expect(try WaitCommand.parse(["1", "2"]).ids == [1, 2])
        for words in [[], ["x"], ["-1"]] { #expect(throws: (any Error).self) { try LogsCommand.parse(words) } }
    }

    @Test func `forget takes numbers or all that ended, and not both`() throws {
        #expect(try ForgetCommand.parse(["3", "4"]).ids == [3, 4])
        #expect(try ForgetCommand.parse(["--ended"]).ended)
        for words in [[], ["3", "--ended"]] { #expect(throws: (any Error).self) { try ForgetCommand.parse(words) } }
    }

    @Test func `a worker in this process takes nothing over`() throws {
        #expect(try WorkerChoice.socket(path: "/s").forDetaching() == .socket(path: "/s"))
        let failure = #expect(throws: CommandFailure.self) { try WorkerChoice.embedded.forDetaching() }
        #expect(failure?.status == ExitStatus.broken && failure?.message.contains("--socket") == true)
    }

    @Test func `what became of jobs that were to be forgotten says what to do`() {
        let exact = JobsForgotten(ids: [1, 2, 3], answers: [.stopped, .unknown, .unfinished], isExact: true)
        #expect(exact.status == ExitStatus.failed && exact.lines.count == 3)
        #expect(exact.lines[1].contains("kvmjob cancel 3") && exact.lines.last == "1 job forgotten")
        let all = JobsForgotten(ids: [1], answers: [.unknown], isExact: false)
        #expect(all.status == 0 && all.lines.first?.hasPrefix("job 1 was gone already") == true)
        #expect(all.lines.last == "0 jobs forgotten")
    }
}

@Suite struct DetachedReportTests {
    private func report(_ result: JobResult, output: [DetachedStream.Event] = []) -> DetachedReport {
        var report = DetachedReport(id: 9)
        var status = Attached(state: .running, run: 1)
        status.label = "week 7"
        report.take(.attached(status))
        for event in output { report.take(event) }
        report.end(result)
        return report
    }

    @Test func `a detached job ends a wait as it would have ended submit, a program as run`() {
        #expect(report(JobResult(outcome: .exited(code: 259))).status == 3)
        #expect(report(JobResult(outcome: .halted)).status == 0)
        #expect(report(JobResult(outcome: .hostError("x"))).status == ExitStatus.broken)
        var killed = JobResult(outcome: .faulted(Fault(vector: 14, errorCode: 4, address: 0, rip: 0)))
        #expect(report(killed).status == ExitStatus.failed)
        killed.program = ProgramReport(signal: 11)
        #expect(report(killed).status == 139)
        #expect(report(killed).verdict.hasPrefix("week 7: faulted"))
    }

    @Test func `the output of a run that was cut short is not in the report`() {
        let events: [DetachedStream.Event] = [
            .output(OutputChunk(channel: .console, bytes: Array("old".utf8))),
            .output(OutputChunk(channel: .portWrites, bytes: [0, 0x80, 1])), .beganAnew,
            .output(OutputChunk(channel: .standardError, bytes: Array("noise".utf8))),
            .output(OutputChunk(channel: .console, bytes: Array("new".utf8))),
        ]
        let found = report(JobResult(outcome: .halted), output: events)
        #expect(found.report.output.elements == Array("new".utf8) && found.report.portWrites.elements.isEmpty)
        let json = String(decoding: found.json.bytes, as: UTF8.self)
        #expect(json.contains(#""name":"week 7","id":9,"outcome":"halted""#))
        #expect(json.contains(#""output_base64":"bmV3""#))
    }

    @Test func `a label of a worker's cannot move the cursor`() {
        var report = DetachedReport(id: 9)
        var status = Attached(state: .running, run: 1)
        status.label = "a\u{1B}[2Jb"
        report.take(.attached(status))
        #expect(report.report.name == "a?[2Jb")
    }
}
