// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import ArgumentParser
import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct BenchCommandTests {
    private func parse(_ arguments: String...) throws -> BenchCommand { try BenchCommand.parse(arguments) }

    @Test func `without options the built-in guest adds two and two for five seconds`() async throws {
        let command = try parse()
        let order = try await command.order()
        #expect(command.connections == 2 && order.window == 32 && command.amount == .duration(.seconds(5)))
        #expect(command.imageName == "add" && order.image.bytes == BuiltInGuest.image)
        #expect(order.spec.registers == [.rax: 2, .rbx: 2])
        #expect(order.expectation == Expectation(output: Array("4\n".utf8)))
    }

    @Test func `every option reaches the load`() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)")
        try Data([0xF4]).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let command = try parse(
            file.path, "--mode", "long64", "--memory", "2MiB", "--steps", "9", "--connections", "3", "--window", "7",
            "--jobs", "11", "--expect", "steps-exhausted")
        let order = try await command.order()
        #expect(command.connections == 3 && order.window == 7 && command.amount == .jobs(11))
        #expect(order.image.bytes == [0xF4] && order.spec.mode == .long64 && order.spec.memoryBytes == 2 << 20)
        #expect(order.spec.budget.steps == 9 && order.expectation == Expectation(outcome: "steps-exhausted"))
    }

    @Test(arguments: [
        (["--connections", "0"], "1 to 256"), (["--connections", "257"], "1 to 256"),
        (["--window", "0"], "1 to 65536"),
        (["--window", "65537"], "1 to 65536"), (["--jobs", "0"], "1 to 1000000000"),
        (["--jobs", "1000000001"], "1 to 1000000000"), (["--jobs", "1", "--duration", "1s"], "exclude each other"),
        (["--duration", "0s"], "more than nothing"), (["--duration", "61m"], "at most an hour"),
        (["--warmup", "61m"], "at most an hour"), (["--duration", "5"], "no unit"),
        (["--expect", "fine"], "halted, exited, faulted"), (["--mode", "long64"], "name an image"),
        (["--set", "ax=3"], "name an image"), (["a", "--floor", "--steps", "5"], "counts no steps"),
        (["a", "--floor", "--meter", "exact"], "counts no steps"),
        (["a", "--floor", "--board", "pc"], "has no devices"),
        (["a", "--floor", "--expect", "wall-time-exhausted"], "end by itself"), (["a", "b"], "b"),
        (["--socket", "s", "--embedded"], "exclude each other"),
    ])
    func `wrong usage is told, with status 64`(arguments: [String], reason: String) {
        let error = #expect(throws: (any Error).self) { try BenchCommand.parse(arguments) }
        guard let error else { return }
        #expect(BenchCommand.fullMessage(for: error).contains(reason))
        #expect(BenchCommand.exitCode(for: error) == .validationFailure)
    }

    @Test func `an amount is shared without a rest`() {
        #expect(LoadAmount.jobs(7).parts(3) == [.jobs(3), .jobs(2), .jobs(2)])
        #expect(LoadAmount.jobs(2).parts(10) == [.jobs(1), .jobs(1)])
        #expect(LoadAmount.duration(.seconds(5)).parts(2) == [.duration(.seconds(2.5)), .duration(.seconds(2.5))])
    }
}

@Suite struct BenchReportTests {
    private static let order = LoadOrder(
        spec: JobSpec(), image: Image([0xF4]), window: 32, expectation: Expectation())

    private static func report(_ choice: WorkerChoice = .embedded, floorThreads: Int? = nil) -> BenchReport {
        BenchReport(
            choice: choice, software: "kvmjobd 1", slots: 2, connections: 2, order: order, floorThreads: floorThreads)
    }

    private static func slice(_ outcomes: [Outcome], nanoseconds: UInt64) -> BenchSlice {
        var tally = LoadTally()
        for (index, outcome) in outcomes.enumerated() {
            tally.add(
                JobResult(outcome: outcome), after: UInt64(index + 1) * 1000,
                isExpected: Expectation().isMet(by: outcome, []))
        }
        return BenchSlice(tally: tally, nanoseconds: nanoseconds)
    }

    private static func json(_ report: BenchReport) throws -> [String: Any] {
        let bytes = BenchJSON(report: report, image: "a.bin").value.bytes
        return try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
    }

    private static func text(_ report: BenchReport) -> String {
        BenchText(report: report, image: "a.bin").lines.joined(separator: "\n")
    }

    @Test func `percentiles are those of the jobs, to three digits`() {
        var latencies = Latencies()
        for job in 1...1000 { latencies.add(UInt64(job) * 1000) }
        for (percentile, expected) in [(50.0, 500_000.0), (90, 900_000), (99, 990_000), (99.9, 999_000)] {
            #expect(abs(Double(latencies.value(atPercentile: percentile)) / expected - 1) < 0.002)
        }
        #expect(latencies.maximum == 1_000_000)
        // What is longer than an hour is counted, and its length known.
        latencies.add(Latencies.longest * 2)
        #expect(latencies.maximum == Latencies.longest * 2 && latencies.value(atPercentile: 50) < 510_000)
    }

    @Test func `two tallies together count the jobs of both`() {
        var tally = Self.slice([.halted, .halted], nanoseconds: 1).tally
        tally.add(Self.slice([.halted, .exited(code: 3), .tripleFault], nanoseconds: 1).tally)
        #expect(tally.jobs == 5 && tally.outcomes == ["halted": 3, "exited": 1, "triple-fault": 1])
        #expect(tally.unexpected == 2 && tally.examples.map(\.outcome) == [.exited(code: 3), .tripleFault])
        #expect(tally.latencies.maximum == 3000 && tally.first?.outcome == .halted)
    }

    @Test func `no more examples are kept than are shown`() {
        var tally = Self.slice(Array(repeating: .tripleFault, count: 4), nanoseconds: 1).tally
        tally.add(Self.slice(Array(repeating: .tripleFault, count: 9), nanoseconds: 1).tally)
        #expect(tally.examples.count == LoadTally.exampleLimit && tally.unexpected == 13)
    }

    @Test func `the rate is that of all slices, and a ratio that of each slice`() {
        var report = Self.report(floorThreads: 2)
        report.add(Self.slice([.halted, .halted], nanoseconds: 1_000_000), floorRates: [4000, 6000])
        report.add(Self.slice([.halted, .halted, .halted, .halted], nanoseconds: 1_000_000), floorRates: [5000, 5000])
        #expect(report.rate == 3000 && report.nanoseconds == 2_000_000)
        #expect(report.ratios == [0.4, 0.8] && report.floorRates == [5000, 5000])
        #expect(Self.text(report).contains("worker / floor 0.60 (0.40-0.80, 2 slices)"))
        #expect(Self.text(report).contains("5,000 jobs/s by a C loop on 2 threads"))
    }

    @Test func `a report for people tells what was loaded, how fast, and how it ended`() {
        var report = Self.report(.socket(path: "/s"))
        report.add(Self.slice(Array(repeating: .halted, count: 1234), nanoseconds: 1_000_000_000), floorRates: [])
        let text = Self.text(report)
        #expect(
            text.hasPrefix("kvmjobd 1 at /s: 2 slots\n2 connections, window 32, a.bin (1 byte), real16, 16 MiB\n\n"))
        #expect(text.contains("jobs      1,234 in 1 s\njobs/s    1,234\nlatency   p50 "))
        #expect(text.contains("p99.9 1.2 ms  max 1.2 ms\noutcomes  halted 1,234"))
        #expect(!text.contains("floor") && !text.contains("expected"))
    }

    @Test func `what went wrong is shown, in the warm-up too, and nothing that was not measured`() {
        var report = Self.report()
        report.warmup = Self.slice([.exited(code: 3)], nanoseconds: 1).tally
        #expect(
            Self.text(report).contains(
                "Nothing was measured.\n\n1 job did not end as expected:\n  a.bin: exited with code 3"))
        report.add(Self.slice([.tripleFault, .halted], nanoseconds: 1000), floorRates: [])
        let text = Self.text(report)
        #expect(text.contains("outcomes  halted 1, triple-fault 1") && text.contains("2 jobs did not end as expected:"))
    }

    @Test(
        arguments: [
            ([Outcome.halted, .exited(code: 0)], 0), ([.halted, .exited(code: 3)], 1), ([.tripleFault], 1),
            ([.exhausted(.wallTime, limit: 1, used: 1), .tripleFault], 124), ([.hostError("")], 125),
        ] as [([Outcome], Int32)])
    func `the status is that of the worst job`(outcomes: [Outcome], status: Int32) {
        var report = Self.report()
        report.add(Self.slice(outcomes, nanoseconds: 1), floorRates: [])
        #expect(report.status == status)
    }

    @Test func `an outcome is expected by its name, and output by its bytes`() {
        let loop = Expectation(outcome: "steps-exhausted")
        #expect(loop.isMet(by: .exhausted(.steps, limit: 5, used: 5), []) && !loop.isMet(by: .halted, []))
        #expect(Expectation(outcome: "exited").isMet(by: .exited(code: 3), []))
        let sum = Expectation(output: Array("4\n".utf8))
        #expect(sum.isMet(by: .halted, Array("4\n".utf8)) && !sum.isMet(by: .halted, Array("5\n".utf8)))
        var unexpected = LoadTally()
        unexpected.add(JobResult(outcome: .halted), after: 1, isExpected: false)
        #expect(unexpected.status == 1, "a good outcome that was not asked for")
    }

    @Test func `as JSON every key is there, with a floor and without`() throws {
        var report = Self.report(.socket(path: "/s"), floorThreads: 2)
        report.add(Self.slice([.halted, .tripleFault], nanoseconds: 1_000_000), floorRates: [4000])
        let keys: Set = [
            "worker", "load", "jobs", "elapsed_ns", "jobs_per_second", "latency_ns", "outcomes", "unexpected",
            "examples",
            "floor",
        ]
        let json = try Self.json(report)
        #expect(Set(json.keys) == keys)
        #expect(json["jobs"] as? Int == 2 && json["jobs_per_second"] as? Int == 2000)
        #expect(json["outcomes"] as? [String: Int] == ["halted": 1, "triple-fault": 1])
        let latency = try #require(json["latency_ns"] as? [String: Int])
        #expect(Set(latency.keys) == ["p50", "p90", "p99", "p99_9", "max"] && latency["max"] == 2000)
        let floor = try #require(json["floor"] as? [String: Int])
        #expect(floor["threads"] == 2 && floor["ratio_thousandths"] == 500 && floor["jobs_per_second"] == 4000)
        #expect((json["examples"] as? [[String: Any]])?.first?["outcome"] as? String == "triple-fault")
        #expect((json["worker"] as? [String: Any])?["kind"] as? String == "socket")
        let without = try Self.json(Self.report())
        #expect(Set(without.keys) == keys && without["floor"] is NSNull && without["jobs"] as? Int == 0)
    }
}

/// The whole way: command line, embedded worker, virtual machine, and the floor beside it.
@Suite(
    "A load and its floor", .enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm"),
    .timeLimit(.minutes(1)))
struct BenchRunTests {
    private func bench(_ arguments: [String], on choice: WorkerChoice = .embedded) async throws -> BenchReport {
        let messages = try #require(FileHandle(forWritingAtPath: "/dev/null"))
        let sink = ByteSink(messages, name: "messages")
        let console = Console(output: sink, messages: sink, isTerminal: false)
        return try await BenchCommand.parse(arguments + ["--warmup", "0s"]).report(console: console, on: choice)
    }

    private func withImage<T>(_ bytes: [UInt8], _ body: (String) async throws -> T) async throws -> T {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("kvmjob-\(UUID().uuidString)")
        try Data(bytes).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        return try await body(file.path)
    }

    @Test func `as many jobs run as asked for`() async throws {
        let report = try await bench(["--jobs", "25", "--connections", "3", "--window", "2"])
        #expect(report.tally.jobs == 25 && report.tally.outcomes == ["halted": 25] && report.status == 0)
        #expect(report.rate > 0 && report.tally.latencies.maximum > 0)
        #expect(report.tally.latencies.value(atPercentile: 50) <= report.tally.latencies.maximum)
    }

    @Test func `a load of a given time takes that long`() async throws {
        let report = try await bench(["--duration", "100ms"])
        #expect(report.nanoseconds >= 100_000_000 && report.tally.jobs > 0 && report.status == 0)
    }

    @Test func `a floor is measured between the slices`() async throws {
        let report = try await bench(["--jobs", "40", "--floor"])
        #expect(report.tally.jobs == 40 && report.ratios.count == BenchRun.slices)
        #expect(report.floorThreads == report.slots && report.ratios.allSatisfy { $0 > 0 && $0.isFinite })
    }

    @Test func `an image that ends otherwise is told after its first job`() async throws {
        try await withImage([0xB0, 0x03, 0xE6, 0xF4]) { path in
            let report = try await bench([path, "--jobs", "10"])
            #expect(report.tally.jobs == 0 && report.ends.unexpected == 1 && report.status == 1)
            let expected = try await bench([path, "--jobs", "10", "--expect", "exited"])
            #expect(expected.tally.jobs == 10 && expected.status == 0)
        }
    }

    @Test func `a job that goes wrong only later makes the status`() async throws {
        // rdtsc; mov al, ah; and al, 1; out 0xf4, al: about half of all jobs exit with 1. The lowest bit is the same for all on some hosts.
        try await withImage([0x0F, 0x31, 0x88, 0xE0, 0x24, 0x01, 0xE6, 0xF4]) { path in
            var report = try await bench([path, "--jobs", "60"])
            // The first job may be one of those, and then nothing else is run.
            for _ in 0..<20 where report.tally.jobs == 0 { report = try await bench([path, "--jobs", "60"]) }
            #expect(report.tally.jobs == 60 && report.ends.unexpected > 0 && report.status == 1)
        }
    }

    @Test func `much output does not stop a load`() async throws {
        // Writes more than a window's 256 KiB to the debug console: mov ecx, 0x41000; out 0xE9, al; loop (ecx); hlt
        try await withImage([0x66, 0xB9, 0, 0x10, 4, 0, 0xE6, 0xE9, 0x67, 0xE2, 0xFB, 0xF4]) { path in
            let report = try await bench([path, "--jobs", "1", "--connections", "1", "--wall-time", "1m"])
            #expect(report.tally.jobs == 1 && report.tally.first?.outputBytes == 0x41000 && report.status == 0)
        }
    }

    @Test func `what the floor cannot run, or runs to another end, is no floor`() async throws {
        try await withImage([0x0F, 0x0B]) { path in
            let failure = await #expect(throws: CommandFailure.self) {
                _ = try await bench([path, "--jobs", "1", "--mode", "long64", "--floor", "--expect", "triple-fault"])
            }
            #expect(failure?.status == 126 && failure?.message.contains("bare loop") == true)
        }
    }

    @Test func `a refusal and a socket that is not there end the load`() async throws {
        let refused = await #expect(throws: CommandFailure.self) { _ = try await bench(["--memory", "4096"]) }
        #expect(refused?.status == 126 && refused?.message.contains("memory") == true)
        let unreadable = await #expect(throws: CommandFailure.self) { _ = try await bench(["/nonexistent/image"]) }
        #expect(unreadable?.status == 126 && unreadable?.message.contains("/nonexistent/image") == true)
        let missing = await #expect(throws: CommandFailure.self) {
            _ = try await bench([], on: .socket(path: "/nonexistent/socket"))
        }
        #expect(missing?.status == 125 && missing?.message.contains("/nonexistent/socket") == true)
        let wide = await #expect(throws: CommandFailure.self) { _ = try await bench(["--window", "257"]) }
        #expect(wide?.status == 126 && wide?.message.contains("256") == true)
    }

    @Test func `a load that is stopped tells what it has done`() async throws {
        let order = try await BenchCommand.parse([]).order()
        let load = try await LoadConnections.open(2, to: .embedded, order)
        let task = Task { try await load.run(.duration(.seconds(3600))) }
        while try await load.finished() < 3 { await Task.yield() }
        task.cancel()
        let tally = try await task.value
        let finished = try await load.finished()
        #expect(tally.jobs >= 3 && tally.jobs == finished && tally.status == 0)
        await load.close()
    }
}
