// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import ArgumentParser
import Foundation
import JobModel
import JobProtocol
import Testing

@testable import kvmjob

/// A worker with two users, as it could be.
enum SampleWorker {
    static let names = TenantNames { [1000: "ann", 1001: "a-very-long-name"][$0] }

    static let report: WorkerReport = {
        var report = WorkerReport()
        (report.software, report.backend) = ("kvmjobd 0.6.0", "KVM 12, software (PVM)")
        report.uptimeNanoseconds = 11_520_000_000_000
        (report.slots, report.running, report.queued, report.paused) = (4, 3, 10_240, 1)
        (report.connections, report.tenants) = (5, 2)
        (report.memoryLimit, report.memoryBytes) = (2 << 30, 66_340_864)
        (report.finished, report.failed, report.isOperator) = (123_456, 12, true)
        report.confinement = [.systemCalls, .files]
        return report
    }()

    static let tenants: [TenantReport] = {
        var (one, two) = (TenantReport(.user(1000)), TenantReport(.user(1001)))
        (one.connections, one.queued, one.running, one.memoryBytes) = (4, 10_000, 3, 48 << 20)
        (one.bytesInFlight, one.keptBytes, one.slotNanoseconds) = (123, 1_234_567, 3_600_500_000_000)
        (one.finished, one.failed, one.refused) = (123_000, 10, 7)
        (two.connections, two.queued, two.paused) = (1, 240, 1)
        return [one, two]
    }()

    static let counters: CounterReport = {
        var report = CounterReport()
        report.samples = [
            CounterSample(.jobsAccepted, 123_460), CounterSample(.jobsEnded, label: 2, 400),
            CounterSample(.jobsEnded, label: 1, 123_000), CounterSample(.jobsEnded, label: 13, 56),
            CounterSample(.jobsEnded, label: 999, 1), CounterSample(.jobsRefused, label: 74, 3),
            CounterSample(.jobsRefused, label: 80, 7), CounterSample(.exits, label: 1, 500_000),
            CounterSample(.steps, 9_000_000_000), CounterSample(.processorNanoseconds, 1_500_000_001),
            CounterSample(.machinesReset, 123_450), CounterSample(.imagesFound, 99),
        ]
        var (queue, run) = (TimeHistogram(.queueTime), TimeHistogram(.runTime))
        for time: UInt64 in [50_000, 100_000, 2_000_000, 700_000_000_000] { queue.add(time) }
        run.add(1_000_000_000)
        report.histograms = [queue, run]
        return report
    }()

    static let status = WorkerStatus(
        place: "/run/kvmjob/kvmjobd.sock", worker: report, tenants: tenants, counters: counters,
        modes: [(.real16, .exact), (.linux, .none)])

    static func job(
        _ id: UInt64, _ state: ListedJob.State, waited: UInt64 = 0, ran: UInt64? = nil, title: String = "boot.bin"
    ) -> ListedJob {
        var job = ListedJob(id: id, tenant: .user(1000), state: state, mode: .real16)
        (job.queueNanoseconds, job.runNanoseconds, job.title, job.memoryBytes) = (waited, ran, title, 16 << 20)
        return job
    }
}

@Suite struct StatusTextTests {
    private let lines = StatusText(status: SampleWorker.status, names: SampleWorker.names).lines

    @Test func `a status says all in 80 columns`() {
        #expect(lines.allSatisfy { $0.count <= 80 }, "\(lines.filter { $0.count > 80 })")
        #expect(lines[0] == "kvmjobd 0.6.0 at /run/kvmjob/kvmjobd.sock, up 3 h 12 min")
        let text = lines.joined(separator: "\n")
        for part in [
            "KVM 12, software (PVM)", "3 of 4 in use", "10240 jobs, 1 paused", "63.3 MiB of 2 GiB admitted",
            "123 k jobs: halted 123 k, exited 400, ...; 12 failed",
            "waited 2 min, ran 1 s on average", "in system calls and files", "real16 (steps exact); linux",
            "an operator",
        ] { #expect(text.contains(part), "\(part) is not in\n\(text)") }
    }

    @Test func `users have a line each, under the heading's columns`() {
        let table = lines.suffix(3)
        #expect(
            Array(table) == [
                "USER         WAIT  RUN  MEMORY     KEPT  SLOT TIME  ENDED  FAILED  REFUSED",
                "ann         10000    3  48 MiB  1.2 MiB     60 min  123 k      10        7",
                "a-very-lo+    240    0       0        0       0 ns      0       0        0",
            ])
    }

    @Test func `one who is no operator is told so, and a worker that drains too`() {
        var status = SampleWorker.status
        (status.worker.isOperator, status.worker.isDraining) = (false, true)
        let lines = StatusText(status: status, names: SampleWorker.names).lines
        #expect(lines[0].hasSuffix("draining: it takes no more jobs"))
        #expect(lines.contains { $0.contains("what is yours") })
    }

    @Test func `the largest numbers fit too`() {
        var status = SampleWorker.status
        status.tenants = [TenantReport(.user(.max)), TenantReport(.unnamed)]
        for index in status.tenants.indices {
            status.tenants[index].queued = .max
            status.tenants[index].running = .max
            for field in [
                \TenantReport.memoryBytes, \.keptBytes, \.slotNanoseconds, \.finished, \.failed, \.refused,
            ] { status.tenants[index][keyPath: field] = .max }
        }
        for field in [\WorkerReport.finished, \.failed, \.memoryBytes, \.memoryLimit, \.uptimeNanoseconds] {
            status.worker[keyPath: field] = .max
        }
        let table = StatusText(status: status, names: TenantNames { _ in nil }).lines
        #expect(table.suffix(3).allSatisfy { $0.count <= 100 })
        #expect(table.last?.hasPrefix("unnamed") == true)
    }

    @Test func `text of a worker's moves no cursor`() {
        var status = SampleWorker.status
        status.worker.software = "\u{1B}[2Jkvmjobd\r\n"
        let text = StatusText(status: status, names: SampleWorker.names).lines.joined()
        #expect(!text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F })
    }
}

@Suite struct StatusJSONTests {
    private func parse(_ status: WorkerStatus) throws -> [String: Any] {
        let bytes = StatusJSON(status: status, names: SampleWorker.names).value.bytes
        return try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
    }

    @Test func `it says all that the worker does`() throws {
        let json = try parse(SampleWorker.status)
        let worker = try #require(json["worker"] as? [String: Any])
        #expect(worker["place"] as? String == "/run/kvmjob/kvmjobd.sock" && worker["queued"] as? Int == 10_240)
        #expect(worker["confinement"] as? [String] == ["system-calls", "files"] && worker["operator"] as? Bool == true)
        #expect(worker["modes"] as? [String: String] == ["real16": "exact", "linux": "none"])
        let tenants = try #require(json["tenants"] as? [[String: Any]])
        #expect(tenants[0]["user"] as? Int == 1000 && tenants[0]["user_name"] as? String == "ann")
        #expect(tenants[0]["slot_ns"] as? Int == 3_600_500_000_000 && tenants[0]["in_flight_bytes"] as? Int == 123)
        let counters = try #require(json["counters"] as? [String: Any])
        #expect(
            counters["jobs_ended"] as? [String: Int]
                == ["halted": 123_000, "exited": 400, "wait-expired": 56, "number-999": 1])
        #expect(counters["jobs_refused"] as? [String: Int] == ["queue-full": 3, "tenant-limit": 7])
        #expect(counters["machines_made"] as? Int == 0, "what never happened is 0")
        let queue = try #require(counters["queue_time"] as? [String: Any])
        #expect(queue["count"] as? Int == 4 && queue["sum_ns"] as? Int == 700_002_150_000)
        let buckets = try #require(queue["buckets"] as? [[String: Any]])
        #expect(buckets.map { $0["count"] as? Int } == [2, 2, 3, 3, 3, 3, 3, 3, 4])
        #expect(buckets[0]["le_ns"] as? Int == 100_000 && buckets[8]["le_ns"] is NSNull)
    }

    @Test func `every key is there though the worker says nothing`() throws {
        let empty = WorkerStatus(place: "p", worker: WorkerReport(), tenants: [], counters: CounterReport())
        let (all, none) = (try parse(SampleWorker.status), try parse(empty))
        for part in ["worker", "counters", "client"] {
            let keys = [all, none].map { Set(($0[part] as? [String: Any] ?? [:]).keys) }
            #expect(keys[0] == keys[1] && !keys[0].isEmpty)
        }
    }

    @Test func `all outcomes and rules have the names that jobs are told with`() {
        let outcomes: [Outcome] = [
            .halted, .exited(code: 0), .faulted(Fault(vector: 0, errorCode: nil, address: nil, rip: 0)), .tripleFault,
            .unemulatable(Unemulatable(rip: nil, bytes: [])), .cancelled(by: .client), .waitExpired(limit: 1),
            .hostError(""),
        ]
        let budgets = BudgetKind.allCases.map { Outcome.exhausted($0, limit: 0, used: 0).name }
        let names = Set(outcomes.map(\.name) + budgets + ["snapshot-taken"])
        #expect(Set(OutcomeNumber.allCases.map(\.name)) == names)
    }
}

@Suite struct JobTableTests {
    private let jobs = [
        SampleWorker.job(7, .queued, waited: 5_000_000_000),
        SampleWorker.job(8, .running, waited: 1000, ran: 2_500_000),
        SampleWorker.job(9, .ended, ran: 1),
    ]

    @Test func `a job has a line, with what cancel takes first`() {
        let lines = JobTable(jobs: jobs, names: SampleWorker.names).lines
        #expect(
            lines == [
                "JOB  USER  STATE    PRI  MEMORY  WAITED     RAN  TITLE",
                "  7  ann   queued     5  16 MiB     5 s       -  boot.bin",
                "  8  ann   running    5  16 MiB    1 us  2.5 ms  boot.bin",
                "  9  ann   ended      5  16 MiB    0 ns    1 ns  boot.bin",
            ])
    }

    @Test func `what a user calls a job moves no cursor, and ends with the line`() {
        let job = SampleWorker.job(1, .queued, title: "\u{1B}]0;x\u{7}\u{202E}" + String(repeating: "é", count: 100))
        let lines = JobTable(jobs: [job], names: SampleWorker.names, width: 80).lines
        #expect(lines[1].count == 80 && lines[1].contains("?]0;x??é"))
        #expect(JobTable(jobs: [job], names: SampleWorker.names).lines[1].count > 80)
    }

    @Test func `in JSON what is not known is null`() throws {
        let bytes = ListedJobJSON(job: jobs[0], names: SampleWorker.names).value.bytes
        let json = try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
        #expect(json["id"] as? Int == 7 && json["state"] as? String == "queued" && json["mode"] as? String == "real16")
        #expect(json["run_ns"] is NSNull && json["pid"] is NSNull && json["user_name"] as? String == "ann")
        #expect(
            Set(json.keys) == [
                "id", "user", "user_name", "pid", "state", "mode", "priority", "memory_bytes", "queue_ns", "run_ns",
                "title",
            ])
    }

    @Test func `jobs that run come first, the longest on top`() {
        let jobs = [
            SampleWorker.job(1, .queued, waited: 9), SampleWorker.job(2, .queued, waited: 10),
            SampleWorker.job(3, .ended), SampleWorker.job(4, .running, ran: 5), SampleWorker.job(5, .paused, ran: 50),
            SampleWorker.job(6, .running, ran: 6), SampleWorker.job(7, .running, ran: 6),
        ]
        #expect(jobs.sorted(by: ListedJob.comesFirst).map(\.id) == [6, 7, 4, 5, 2, 1, 3])
    }
}

@Suite struct ControlCommandTests {
    private func parse<Command>(_ words: String...) throws -> Command {
        try #require(try KVMJobCommand.parseAsRoot(words) as? Command)
    }

    @Test func `users are named by name, number, or as nobody`() throws {
        let root: PsCommand = try parse("ps", "--tenant", "root")
        #expect(root.tenant.tenant == .user(0))
        let number: PsCommand = try parse("ps", "--tenant", "4000000000")
        #expect(number.tenant.tenant == .user(4_000_000_000))
        let unnamed: PsCommand = try parse("ps", "--tenant", "unnamed")
        #expect(unnamed.tenant.tenant == .unnamed)
        #expect(throws: (any Error).self) { try KVMJobCommand.parseAsRoot(["ps", "--tenant", "no such user"]) }
        let job = SampleWorker.job(1, .queued)
        #expect(!root.tenant.includes(job))
        let all: PsCommand = try parse("ps")
        #expect(all.tenant.includes(job))
    }

    @Test(arguments: [
        ["cancel"], ["cancel", "1", "--all"], ["cancel", "x"], ["cancel", "1", "1"], ["cancel", "1", "--tenant", "0"],
    ])
    func `what cancel cannot mean is wrong usage`(words: [String]) {
        #expect(throws: (any Error).self) { try KVMJobCommand.parseAsRoot(words) }
    }

    @Test func `all means one's own, and an operator elsewhere has to say whose`() throws {
        let (here, there) = (WorkerChoice.socket(path: "/s"), WorkerChoice.remote(try RemoteHost("ssh://box")))
        #expect(try CancelCommand.owner(nil, isOperator: false, user: 7, on: here) == nil, "who sees only that")
        #expect(try CancelCommand.owner(nil, isOperator: false, user: 7, on: there) == nil)
        #expect(try CancelCommand.owner(nil, isOperator: true, user: 7, on: here) == .user(7))
        #expect(try CancelCommand.owner(.user(8), isOperator: true, user: 7, on: there) == .user(8))
        #expect(throws: CommandFailure.self) {
            try CancelCommand.owner(nil, isOperator: true, user: 7, on: there)
        }
    }

    @Test func `cancelling says what became of each, and counts`() {
        let mixed = JobStop(ids: [1, 2, 3], answers: [.stopped, .unknown, .stopped], isExact: true)
        #expect(mixed.lines == ["job 2 is unknown: it has ended, or is another user's", "2 jobs stopped"])
        #expect(mixed.status == 1)
        let one = JobStop(ids: [1], answers: [.stopped], isExact: true)
        #expect(one.lines == ["1 job stopped"] && one.status == 0)
        // Of all, one that has just ended is none that anybody asked for.
        let all = JobStop(ids: [1, 2], answers: [.stopped, .unknown], isExact: false)
        #expect(all.lines == ["1 job stopped"] && all.status == 0)
        #expect(JobStop(ids: [], answers: [], isExact: false).lines == ["0 jobs stopped"])
    }

    @Test func `draining says that systemd starts a new worker, and who may`() {
        #expect(DrainCommand.line(drains: true, hasLeft: false).contains("under systemd the next connection"))
        #expect(DrainCommand.line(drains: true, hasLeft: true).hasPrefix("the worker has left"))
        #expect(DrainCommand.line(drains: false, hasLeft: true).contains("only operators"))
    }

    @Test func `there is nobody to ask in this process`() async {
        await #expect(throws: CommandFailure.self) { try await WorkerChoice.embedded.asking { _, _ in } }
    }

    @Test func `one form of output at a time`() {
        #expect(throws: (any Error).self) { try KVMJobCommand.parseAsRoot(["status", "--json", "--openmetrics"]) }
    }
}

@Suite struct QueueTests {
    @Test func `priority and wait are the job's`() throws {
        let words = ["submit", "--hex", "f4", "--priority", "9", "--wait", "300ms"]
        let command = try #require(try KVMJobCommand.parseAsRoot(words) as? SubmitCommand)
        let spec = try command.submission(console: .standard).spec
        #expect(spec.priority == 9 && spec.waitLimit == 300_000_000)
        let plain = try #require(try KVMJobCommand.parseAsRoot(["submit", "--hex", "f4"]) as? SubmitCommand)
        let usual = try plain.submission(console: .standard).spec
        #expect(usual.priority == JobPriority.normal && usual.waitLimit == nil)
    }

    @Test(arguments: [["--priority", "10"], ["--priority", "-1"], ["--wait", "0s"], ["--wait", "5"]])
    func `what is out of range is wrong usage`(words: [String]) {
        for command in [["submit", "--hex", "f4"], ["bench"]] {
            #expect(throws: (any Error).self) { try KVMJobCommand.parseAsRoot(command + words) }
        }
        #expect(throws: (any Error).self) { try KVMJobCommand.parseAsRoot(["run"] + words + ["--", "ls"]) }
    }

    @Test func `a wait that is worth a word says place, time and way back`() {
        let wait = Acceptance(id: 1204, queuePosition: 12, waitNanoseconds: 3_200_000_000)
        #expect(
            WaitNotice(acceptance: wait).line
                == "kvmjob: job 1204 waits for a slot: 12 jobs go before it, about 3.2 s; kvmjob cancel 1204 takes it back"
        )
        #expect(
            WaitNotice(acceptance: Acceptance(queuePosition: 1)).line
                == "kvmjob: the job waits for a slot: 1 job goes before it")
        #expect(WaitNotice(acceptance: Acceptance(id: 1, queuePosition: 12, waitNanoseconds: 900_000_000)).line == nil)
        #expect(WaitNotice(acceptance: Acceptance(id: 1, queuePosition: 0, waitNanoseconds: 5_000_000_000)).line == nil)
        #expect(WaitNotice(acceptance: Acceptance(id: 1)).line == nil)
    }

    @Test func `a refusal says setting, limit, use, and when to come back`() {
        var rejection = Rejection(
            code: "tenant-limit", message: "too many jobs of one user wait", limit: 10_000, value: 10_001)
        (rejection.limitName, rejection.retryNanoseconds) = ("tenant-queued-jobs", 3_200_000_000)
        #expect(
            RefusalText(rejection: rejection).line
                == "too many jobs of one user wait (tenant-queued-jobs is 10000, and this would make it 10001); "
                + "come back in about 3.2 s")
        (rejection.limitName, rejection.limit, rejection.value) = ("tenant-memory", 1 << 30, 1_200_000_000)
        rejection.retryNanoseconds = 600_000_000_000
        #expect(
            RefusalText(rejection: rejection).line.hasSuffix(
                "(tenant-memory is 1 GiB, and this would make it 1.1 GiB); come back in about 10 min"))
        (rejection.limit, rejection.value) = (1 << 30, (1 << 30) + 1)
        #expect(RefusalText(rejection: rejection).line.contains("is 1 GiB, and this would make it 1073741825 bytes"))
        #expect(RefusalText(rejection: .unreadable("no such file")).line == "no such file")
    }

    @Test func `what a person can ask less of is told in a person's units`() {
        let memory = Rejection(code: "memory-size", message: "m", limit: 63 << 20, value: 256 << 20)
        #expect(
            RefusalText(rejection: memory).line.hasPrefix("256 MiB of guest memory are more than a job can have there"))
        let time = Rejection(code: "budget-range", message: "m", limit: 3_600_000_000_000, value: 7_200_000_000_000)
        #expect(RefusalText(rejection: time).line.contains("--wall-time"))
        let small = Rejection(code: "memory-size", message: "as the worker says", limit: 1 << 20, value: 4096)
        #expect(RefusalText(rejection: small).line == "as the worker says")
    }

    @Test func `in JSON a refusal has them as numbers, and a job its id`() throws {
        var rejection = Rejection(code: "tenant-limit", message: "m", limit: 1, value: 2)
        (rejection.limitName, rejection.retryNanoseconds) = ("tenant-queued-jobs", 5)
        func parse(_ report: JobReport) throws -> [String: Any] {
            let json = JSONReport(report: report, stepBudget: nil, listsPortWrites: false)
            return try #require(try JSONSerialization.jsonObject(with: Data(json.value.bytes)) as? [String: Any])
        }
        let refused = try parse(JobReport(image: "a", name: "a", end: .refused(rejection)))
        let error = try #require(refused["error"] as? [String: Any])
        #expect(error["limit_name"] as? String == "tenant-queued-jobs" && error["retry_ns"] as? Int == 5)
        #expect(refused["id"] is NSNull)
        var report = JobReport(image: "a", name: "a", end: .ended(JobResult(outcome: .waitExpired(limit: 1))))
        report.id = 77
        #expect(try parse(report)["id"] as? Int == 77)
    }
}

@Suite struct ProgramHintTests {
    private func line(_ words: [String], code: UInt32, hasRoot: Bool = false) -> String? {
        ProgramHint(words: words, hasRoot: hasRoot).line(.ended(JobResult(outcome: .exited(code: code))))
    }

    @Test func `python that fails is told of the command that brings its library`() {
        #expect(line(["python3", "-u", "x y.py"], code: 1)?.contains("kvmjob python 'x y.py' brings") == true)
        #expect(line(["/usr/bin/python3.11"], code: 1)?.contains("kvmjob python FILE") == true)
        #expect(line(["python3", "x.py"], code: 0) == nil)
        #expect(line(["python3", "x.py"], code: 1, hasRoot: true) == nil)
        #expect(line(["pythonista", "x.py"], code: 1) == nil)
    }

    @Test func `a shell that finds no program is told how programs come`() {
        #expect(line(["bash", "-c", "ls"], code: 127)?.contains("--file /bin/ls") == true)
        #expect(line(["bash", "-c", "exit 1"], code: 1) == nil)
        #expect(line(["bash"], code: 127, hasRoot: true) == nil)
        #expect(ProgramHint(words: ["bash"], hasRoot: false).line(.lost("")) == nil)
    }
}

@Suite struct ShortTextTests {
    @Test(
        arguments: [
            (UInt64(0), "0"), (99_999, "99999"), (100_000, "100 k"), (123_456, "123 k"), (1_250_000, "1.3 M"),
            (99_960_000, "100 M"), (.max, "18.4 E"),
        ])
    func `a count has six characters at most`(number: UInt64, text: String) {
        #expect(ShortText.count(number) == text && text.count <= 6)
    }

    @Test(
        arguments: [
            (UInt64(512), "512 bytes"), (66_340_864, "63.3 MiB"), (73_714_893, "70.3 MiB"), (64 << 20, "64 MiB"),
            (1 << 30, "1 GiB"), ((100 << 20) + 600_000, "101 MiB"), (.max, "17179869184 GiB"),
        ])
    func `a size has one decimal where that tells something`(bytes: UInt64, text: String) {
        #expect(SizeText.approximate(bytes) == text)
    }

    @Test func `too much is told in people's units, and exactly where those would be the same`() {
        #expect(SizeText.excess(73_714_893, limit: 66_340_864) == "it is 70.3 MiB, larger than 63.3 MiB")
        #expect(SizeText.excess(1025, limit: 1024) == "it is 1025 bytes, larger than 1 KiB")
    }

    @Test(
        arguments: [
            (UInt64(3_200_000_000), "3.2 s"), (119_000_000_000, "119 s"), (120_000_000_000, "2 min"),
            (11_520_000_000_000, "3 h 12 min"), (7_200_000_000_000, "2 h"), (187_200_000_000_000, "2 d 4 h"),
            (172_800_000_000_000, "2 d"),
        ])
    func `long times have two units at most`(nanoseconds: UInt64, text: String) {
        #expect(DurationText.long(nanoseconds: nanoseconds) == text)
    }

    @Test func `short times have seven characters at most`() {
        for exponent in 0..<64 {
            for nanoseconds in [1 << exponent, (UInt64(1) << exponent) - 1] {
                #expect(DurationText.short(nanoseconds: nanoseconds).count <= 8, "\(nanoseconds)")
            }
        }
        #expect(DurationText.short(nanoseconds: 12_000_000_000_000) == "3.3 h")
        #expect(DurationText.short(nanoseconds: 720_000_000_000) == "12 min")
    }
}

@Suite struct ReadingProgressTests {
    @Test func `it tells how many and where, on one line of the terminal`() {
        let progress = ReadingProgress()
        #expect(progress.line(width: 80) == nil)
        progress.enter("/usr", entries: 12)
        progress.enter("/usr/share/\u{1B}[2J" + String(repeating: "x", count: 200), entries: 30)
        let line = progress.line(width: 79)
        #expect(line?.hasPrefix("kvmjob: reading files: 42 so far, now in /usr/share/?[2Jxx") == true)
        #expect(line?.count == 79)
    }

    @Test func `a directory that is walked is told of`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "kvmjob-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(
            at: folder.appending(path: "deep/er"), withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        for name in ["a", "b", "deep/c"] { try Data().write(to: folder.appending(path: name)) }
        var tree = GuestTree()
        let progress = ReadingProgress()
        tree.progress = progress
        try tree.walk(folder.path, to: .root, in: .root)
        #expect(progress.line(width: 200)?.hasPrefix("kvmjob: reading files: 5 so far") == true)
    }
}
