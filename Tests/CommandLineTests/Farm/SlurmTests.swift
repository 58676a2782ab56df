// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import NIOConcurrencyHelpers
import Testing

@testable import kvmjob

/// The texts are what Slurm 22.05 printed.
@Suite("What Slurm says")
struct SlurmTests {
    @Test func `a line of squeue is a task`() throws {
        let text = """
            1|5|PENDING|N/A||Resources
            1|4|RUNNING|2026-11-23T20:09:30|n2|None
            12|0|PENDING|2026-11-23T20:11:30||BeginTime
            """
        let tasks = try SlurmTask.parse(text)
        #expect(tasks.map(\.id) == ["1_5", "1_4", "12_0"])
        #expect(tasks.map(\.isWaiting) == [true, false, true])
        #expect(tasks.map(\.isHeldBack) == [false, false, true])
        #expect(tasks[1].nodes == "n2")
    }

    @Test func `a reason may be a sentence with anything in it`() throws {
        let tasks = try SlurmTask.parse(
            "3|1|PENDING|N/A||Nodes required for job are DOWN, DRAINED or reserved for jobs in higher | partitions\n")
        #expect(tasks.count == 1)
        #expect(tasks[0].reason.hasSuffix("higher | partitions"))
    }

    @Test(arguments: ["1|N/A|RUNNING|x|n1|None", "slurm_load_jobs error", "|1|RUNNING|x|n1|None", "1|2|RUNNING"])
    func `what is no task of an array is an error that shows it`(line: String) {
        #expect {
            try SlurmTask.parse(line)
        } throws: { error in
            (error as? ValueError)?.description.contains(line) == true
        }
    }

    @Test func `tasks that have ended are not active, and those being cleaned up are`() throws {
        for state in ["COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED"] {
            #expect(try SlurmTask.parse("1|1|\(state)|x|n1|None").first?.isActive == false)
        }
        for state in ["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD"] {
            #expect(try SlurmTask.parse("1|1|\(state)|x|n1|None").first?.isActive == true)
        }
    }

    @Test func `a machine of several partitions counts once`() throws {
        let nodes = try SlurmNode.parse("n1|mixed|none\nn2|down*|Not responding\nn1|mixed|none\n")
        #expect(nodes.map(\.name) == ["n1", "n2"])
        #expect(nodes.map(\.isDown) == [false, true])
    }

    @Test(arguments: [([0], "0"), ([3, 1, 2, 7], "1-3,7"), ([5, 5, 6], "5-6"), ([9, 0], "0,9")])
    func `indexes are written in ranges`(indexes: [Int], text: String) {
        #expect(IndexRanges(indexes).text == text)
    }

    // MARK: Troubles

    private func waiting(_ reason: String, chunks: [Int] = [0, 1, 2, 5]) -> [SlurmTask] {
        chunks.map { SlurmTask(array: "7", chunk: $0, state: "PENDING", start: "N/A", nodes: "", reason: reason) }
    }

    @Test func `held tasks are told with the command that releases them`() {
        let troubles = SlurmTrouble.all(waiting("JobHeldUser"), nodes: [])
        #expect(troubles.count == 1)
        #expect(troubles[0].text.contains("4 tasks wait"))
        #expect(troubles[0].remedies == [.init(who: .you, command: "scontrol release 7_[0-2,5]")])
        let byAdministrator = SlurmTrouble.all(waiting("JobHeldAdmin", chunks: [4]), nodes: [])
        #expect(byAdministrator.flatMap(\.remedies) == [.init(who: .administrator, command: "scontrol release 7_4")])
    }

    @Test func `a controller that lost its numbers is told with both commands`() {
        let nodes = [
            SlurmNode(name: "n1", state: "drained", reason: "Duplicate jobid"),
            SlurmNode(name: "n2", state: "draining", reason: "Duplicate jobid"),
            SlurmNode(name: "n3", state: "idle", reason: "none"),
        ]
        let lines = SlurmTrouble.all(waiting("JobHeldUser"), nodes: nodes).flatMap(\.lines)
        #expect(lines.contains("  you: scontrol release 7_[0-2,5]"))
        #expect(lines.contains("  an administrator of Slurm: scontrol update NodeName=n1,n2 State=RESUME"))
    }

    @Test(arguments: ["PartitionConfig", "PartitionTimeLimit", "BadConstraints"])
    func `more than there is, is told with what to leave out`(reason: String) {
        let troubles = SlurmTrouble.all(waiting(reason), nodes: [])
        #expect(troubles.count == 1 && troubles[0].text.contains("fewer --slots"))
    }

    @Test func `what only takes its time is no trouble`() {
        for reason in ["Resources", "Priority", "None", "BeginTime"] {
            #expect(SlurmTrouble.all(waiting(reason), nodes: []).isEmpty)
        }
        let running = [SlurmTask(array: "7", chunk: 0, state: "RUNNING", start: "", nodes: "n1", reason: "None")]
        #expect(SlurmTrouble.all(running, nodes: [SlurmNode(name: "n2", state: "drained", reason: "x")]).isEmpty)
    }

    @Test(arguments: [
        ("sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification", "--no-gres"),
        ("sbatch: error: invalid partition specified: foo", "--slurm-option=--partition"),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", "--slots N"),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            "slurmctld"
        ),
    ])
    func `a refused batch is told with what helps`(complaint: String, part: String) {
        let lines = SlurmTrouble.refused(complaint).lines
        #expect(lines[0].contains(complaint))
        #expect(lines.dropFirst().contains { $0.contains(part) })
    }

    // MARK: The engine

    /// Answers in Slurm's place, and keeps what it was asked.
    private final class ScriptedSlurm: Sendable {
        let asked = NIOLockedValueBox<[[String]]>([])
        let told = NIOLockedValueBox<[String]>([])
        let answers = NIOLockedValueBox<[String: HostCommand.Answer]>([:])

        func engine(_ settings: SlurmEngine.Settings = .init(program: "/usr/bin/kvmjob")) -> SlurmEngine {
            SlurmEngine(
                spool: Spool(folder: "/shared/a b"), id: "0123", settings: settings,
                command: { [self] words in
                    asked.withLockedValue { $0.append(words) }
                    return answers.withLockedValue { $0[words[0]] } ?? .init(status: 0, output: "", errors: "")
                },
                tell: { [self] lines in told.withLockedValue { $0 += lines } })
        }

        func answer(_ program: String, _ output: String, status: CInt = 0, errors: String = "") {
            answers.withLockedValue { $0[program] = .init(status: status, output: output, errors: errors) }
        }

        func commands(_ program: String) -> [[String]] { asked.withLockedValue { $0 }.filter { $0[0] == program } }
    }

    @Test func `an array asks for kvm where the cluster has it`() async throws {
        let slurm = ScriptedSlurm()
        slurm.answer("sbatch", "4711;farm\n")
        slurm.answer("sinfo", "gpu:2,kvm:8\n(null)\n")
        try await slurm.engine().submit([0, 1, 2, 9])
        let words = try #require(slurm.commands("sbatch").first)
        #expect(words.contains("--gres=kvm:4"))
        #expect(words.contains("--array=0-2,9"))
        #expect(
            words.last
                == "--wrap=exec /usr/bin/kvmjob worker --spool '/shared/a b' --chunk \"$SLURM_ARRAY_TASK_ID\" --slots 4"
        )
        slurm.answer("sinfo", "(null)\ngpu:1\n")
        try await slurm.engine().submit([0])
        #expect(slurm.commands("sbatch").last?.contains("--gres=kvm:4") == false)
    }

    @Test func `options are passed on in front of the script`() async throws {
        let slurm = ScriptedSlurm()
        slurm.answer("sbatch", "1\n")
        let settings = SlurmEngine.Settings(program: "k", asksForKVM: false, options: ["--partition=short", "--qos=x"])
        try await slurm.engine(settings).submit([3])
        let words = try #require(slurm.commands("sbatch").first)
        #expect(words.suffix(3).prefix(2) == ["--partition=short", "--qos=x"])
        #expect(slurm.commands("sinfo").isEmpty)
    }

    @Test func `a number that is none is not taken for one`() async {
        let slurm = ScriptedSlurm()
        slurm.answer("sbatch", "Submitted batch job 5\n")
        await #expect(throws: CommandFailure.self) { try await slurm.engine().submit([0]) }
    }

    @Test func `a requeued task is pulled forward`() async throws {
        let slurm = ScriptedSlurm()
        slurm.answer("squeue", "5|0|RUNNING|x|n1|None\n5|3|PENDING|2026-11-23T20:11:30||BeginTime\n")
        #expect(try await slurm.engine().activeChunks() == [0, 3])
        #expect(slurm.commands("scontrol") == [["scontrol", "update", "JobId=5_3", "StartTime=now"]])
    }

    @Test func `a trouble is told once`() async throws {
        let slurm = ScriptedSlurm()
        slurm.answer("squeue", "5|3|PENDING|N/A||JobHeldUser\n")
        slurm.answer("sinfo", "n1|drained|Duplicate jobid\n")
        let engine = slurm.engine()
        _ = try await engine.activeChunks()
        let told = slurm.told.withLockedValue { $0 }
        #expect(told.contains("  you: scontrol release 5_3"))
        _ = try await engine.activeChunks()
        #expect(slurm.told.withLockedValue { $0 } == told)
    }

    @Test func `a controller that does not answer is told, and nothing counts as ended`() async throws {
        let slurm = ScriptedSlurm()
        slurm.answer("squeue", "", status: 1, errors: "slurm_load_jobs error: Unable to contact slurm controller\n")
        let engine = slurm.engine()
        #expect(try await engine.activeChunks() == nil)
        #expect(try await engine.activeChunks() == nil)
        #expect(slurm.told.withLockedValue { $0 }.count == 1)
        slurm.answer("squeue", "")
        #expect(try await engine.activeChunks() == [])
        #expect(slurm.told.withLockedValue { $0 }.last == "slurm: the controller answers again")
    }

    @Test func `the spool's arrays are cancelled by their name`() async {
        let slurm = ScriptedSlurm()
        await slurm.engine().cancel()
        #expect(slurm.commands("scancel") == [["scancel", "--name=kvmjob-0123"]])
    }
}
