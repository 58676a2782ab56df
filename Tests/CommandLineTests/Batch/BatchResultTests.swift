// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct BatchResultTests {
    static let job = BatchJob(
        line: 3, id: "ab", label: "l", image: "a.bin", spec: JobSpec(), source: .image(Image([0xF4])), input: nil,
        hasOwnWallTime: true)

    static func result(_ end: JobEnd, line: Int = 3) -> BatchResult {
        var job = job
        job.line = line
        return BatchResult(job, JobReport(image: "a.bin", name: "l", end: end))
    }

    private static let outcomes: [Outcome] =
        [
            .halted, .exited(code: 0), .exited(code: 3), .tripleFault, .unemulatable(Unemulatable(rip: 1, bytes: [1])),
            .faulted(Fault(vector: 13, errorCode: 0, address: nil, rip: 1)), .waitExpired(limit: 3), .hostError("x"),
            .snapshotTaken(ContentDigest(hashing: [])),
        ]
        + BudgetKind.allCases.map { .exhausted($0, limit: 1, used: 1) }
        + Canceller.allCases.map { .cancelled(by: $0) }

    @Test func `a line that was written means the same when it is read`() throws {
        let ends: [JobEnd] =
            Self.outcomes.map { outcome in
                var result = JobResult(outcome: outcome)
                (result.wallNanoseconds, result.steps) = (1234, 5)
                return .ended(result)
            } + [
                .lost("gone"), .refused(.unreadable("no")),
                .refused(Rejection(code: "queue-full", message: "full", isRetryable: true)),
            ]
        for end in ends {
            let result = Self.result(end)
            #expect(result.bytes.last == UInt8(ascii: "\n"))
            #expect(try BatchResult(text: result.bytes.dropLast()) == result, "\(end.name)")
        }
        #expect(Set(ends.map(\.name)).count > 15)
    }

    @Test func `faults of the host and of the way there are no results of a job`() {
        let final = Set(Self.outcomes.filter { Self.result(.ended(JobResult(outcome: $0))).isFinal }.map(\.name))
        #expect(final.isDisjoint(with: ["host-error", "wait-expired"]))
        #expect(
            final.isSuperset(of: ["halted", "exited", "faulted", "steps-exhausted", "memory-exhausted", "cancelled"]))
        #expect(!Self.result(.lost("")).isFinal)
        #expect(!Self.result(.ended(JobResult(outcome: .cancelled(by: .drain)))).isFinal)
        #expect(!Self.result(.refused(Rejection(code: "queue-full", message: "", isRetryable: true))).isFinal)
        #expect(Self.result(.refused(Rejection(code: "image-empty", message: ""))).isFinal)
    }

    @Test func `a job that was handed over has a line that --resume does not take for a result`() throws {
        var acceptance = Acceptance(id: 12)
        acceptance.isRepeated = true
        let result = BatchResult(Self.job, acceptance)
        #expect(
            String(decoding: result.bytes, as: UTF8.self)
                == #"{"line":3,"job_id":"ab","label":"l","image":"a.bin","outcome":"detached","id":12,"repeated":true}"#
                + "\n")
        #expect(!result.isFinal && result.isSuccess)
        #expect(try BatchResult(text: result.bytes.dropLast()) == result)
    }

    @Test func `a line begins with what it is about`() {
        let text = String(decoding: Self.result(.ended(JobResult(outcome: .halted))).bytes, as: UTF8.self)
        #expect(
            text.hasPrefix(
                #"{"line":3,"job_id":"ab","label":"l","output_file":null,"stderr_file":null,"image":"a.bin","name":"l","#
            ))
    }
}

@Suite struct BatchResultsTests {
    /// What is written to a file that is read again.
    private func written(
        _ order: BatchResults.Order, _ work: (BatchResults) async throws -> Void
    ) async throws -> [Int] {
        let path = NSTemporaryDirectory() + "results-\(UUID().uuidString)"
        try Data().write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        let results = BatchResults(ByteSink(handle, name: "test"), order: order)
        try await work(results)
        let lines = try Data(contentsOf: URL(fileURLWithPath: path)).split(separator: UInt8(ascii: "\n"))
        return try lines.map { try BatchResult(text: Array($0)).line }
    }

    private func halted(_ line: Int) -> BatchResult {
        BatchResultTests.result(.ended(JobResult(outcome: .halted)), line: line)
    }

    @Test(arguments: [(BatchResults.Order.asTheyCome, [5, 2, 9, 7]), (.asInManifest, [2, 5, 7, 9])])
    func `results are written as they come, or in the manifest's order`(order: BatchResults.Order, lines: [Int])
        async throws
    {
        let found = try await written(order) { results in
            for line in [2, 5, 7, 9] { await results.expect(line: line) }
            for line in [5, 2, 9, 7] { try await results.add(halted(line)) }
            #expect(await results.running == 0)
        }
        #expect(found == lines)
    }

    @Test func `what waits for a line that never comes is written at the end`() async throws {
        let found = try await written(.asInManifest) { results in
            for line in [1, 2, 3] { await results.expect(line: line) }
            try await results.add(halted(3))
            try await results.add(halted(2))
            try await results.flush()
        }
        #expect(found == [2, 3])
    }

    @Test func `no more results are held than there may be`() async throws {
        let found = try await written(.asInManifest) { results in
            let most = BatchResults.heldLimit
            for line in 1...most + 1 { await results.expect(line: line) }
            for line in 2...most + 1 { try await results.add(halted(line)) }
            // Waits, for there is no room; the first line makes some.
            let more = Task { await results.expect(line: most + 2) }
            #expect(await results.running == 1)
            try await results.add(halted(1))
            await more.value
            #expect(await results.running == 1)
            try await results.add(halted(most + 2))
        }
        #expect(found == Array(1...BatchResults.heldLimit + 2))
    }

    @Test func `the first failure is the last result where that was asked for`() async throws {
        let null = try FileHandle(forWritingTo: URL(fileURLWithPath: "/dev/null"))
        let results = BatchResults(ByteSink(null, name: "null"), endsAtFailure: true)
        await results.expect(line: 1)
        await results.expect(line: 2)
        try await results.add(halted(1))
        await #expect(throws: BatchFailure.self) { try await results.add(BatchResultTests.result(.lost("x"), line: 2)) }
        #expect(await results.tally.status == ExitStatus.broken)
    }
}

@Suite struct RecordedResultsTests {
    private let path = NSTemporaryDirectory() + "recorded-\(UUID().uuidString)"

    private func line(_ id: String, _ outcome: Outcome) -> String {
        var job = BatchResultTests.job
        job.id = id
        let result = BatchResult(job, JobReport(image: "a", name: "a", end: .ended(JobResult(outcome: outcome))))
        return String(decoding: result.bytes, as: UTF8.self)
    }

    private func read(
        _ text: String, _ policy: RecordedResults.Policy = .keepFinal
    ) async throws -> (found: RecordedResults, text: String) {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let found = try await RecordedResults(path: path, policy: policy)
        #expect(!FileManager.default.fileExists(atPath: path + RecordedResults.replacementSuffix))
        #expect(!FileManager.default.fileExists(atPath: path + ".part"))
        return (found, try String(contentsOfFile: path, encoding: .utf8))
    }

    @Test func `a last line that was cut is dropped wherever it was cut`() async throws {
        let (one, two) = (line("a", .halted), line("b", .halted))
        for count in stride(from: 1, to: two.utf8.count, by: 97) {
            let (found, text) = try await read(one + String(two.prefix(count)))
            #expect(found.ids == ["a"] && text == one)
        }
        let (found, text) = try await read(one + two.dropLast())
        #expect(found.ids == ["a"] && text == one)
        #expect(try await read(one + two).text == one + two)
    }

    @Test func `what says nothing about a job is taken out, and each job is there once`() async throws {
        let text = line("a", .halted) + line("b", .hostError("x")) + line("c", .exited(code: 1)) + line("a", .halted)
        let (kept, left) = try await read(text)
        #expect(kept.ids == ["a", "c"] && left == line("a", .halted) + line("c", .exited(code: 1)))
        let (successes, rest) = try await read(text, .keepSuccesses)
        #expect(successes.ids == ["a"] && rest == line("a", .halted))
    }

    @Test func `a file that is no file of results stays as it is`() async throws {
        let failure = await #expect(throws: CommandFailure.self) { try await read("precious\n") }
        #expect(failure?.message.contains(":1: this is no results line") == true)
    }

    @Test func `a file whose replacing was cut short is found again`() async throws {
        let replacement = path + RecordedResults.replacementSuffix
        try Data(line("a", .halted).utf8).write(to: URL(fileURLWithPath: replacement))
        #expect(try await RecordedResults(path: path, policy: .keepFinal).ids == ["a"])
        // Where the old one is still there, it has all that the new one has.
        try Data(line("b", .halted).utf8).write(to: URL(fileURLWithPath: replacement))
        #expect(try await RecordedResults(path: path, policy: .keepFinal).ids == ["a"])
        #expect(!FileManager.default.fileExists(atPath: replacement))
        try FileManager.default.removeItem(atPath: path)
        #expect(try await RecordedResults(path: path, policy: .keepFinal).ids.isEmpty)
    }

    @Test func `results that are there are neither overwritten unasked nor written by two`() async throws {
        defer { try? FileManager.default.removeItem(atPath: path) }
        let first = try await ResultsFile(path: path, .refuse)
        await #expect(throws: CommandFailure.self) { try await ResultsFile(path: path, .overwrite) }
        try await first.sink.write(Array(line("a", .halted).utf8))
        withExtendedLifetime(first) {}
    }
}

@Suite struct BatchSummaryTests {
    @Test func `the end is told in a table`() {
        var tally = BatchTally()
        for (outcome, steps) in [(Outcome.halted, 10), (.halted, 30), (.exited(code: 2), 20)] {
            var result = JobResult(outcome: outcome)
            (result.steps, result.wallNanoseconds) = (UInt64(steps), UInt64(steps) * 1000)
            tally.add(BatchResultTests.result(.ended(result)))
        }
        let lines = BatchSummary(tally: tally, skipped: 4, nanoseconds: 1_500_000_000).lines
        #expect(
            lines == [
                "kvmjob: 3 jobs in 1.5 s, 2 jobs/s; 4 had their results before", "OUTCOME  JOBS   SHARE",
                "halted      2  66.7 %",
                "exited      1  33.3 %", "           LEAST  MEDIAN   MOST", "wall time  10 us   20 us  30 us",
                "steps         10      20     30",
            ])
        #expect(tally.status == ExitStatus.failed && tally.failures == ["exited": 1])
    }

    @Test func `progress is one line that fits`() {
        var progress = BatchProgress(
            total: 2000, done: 412, running: 256, failures: ["faulted": 3, "exited": 1], rate: 794)
        #expect(
            progress.line(width: 100)
                == "kvmjob: 412/2000 done, 256 in flight, 1 exited, 3 faulted, 794 jobs/s, 2 s left")
        #expect(progress.line(width: 20).count == 20)
        (progress.total, progress.rate) = (nil, nil)
        #expect(progress.line(width: 100) == "kvmjob: 412 done, 256 in flight, 1 exited, 3 faulted")
    }
}

@Suite struct JobRetriesTests {
    private func pauses(_ end: JobEnd, limit: Int, asking count: Int) -> [Duration?] {
        var retries = JobRetries(limit: limit)
        return (0..<count).map { _ in retries.pause(after: end) }
    }

    @Test func `what the host broke runs again as often as was asked for, and nothing that is the guest's`() {
        for outcome in [Outcome.halted, .exited(code: 1), .tripleFault, .cancelled(by: .client)] {
            #expect(pauses(.ended(JobResult(outcome: outcome)), limit: 9, asking: 1) == [nil])
        }
        let first = JobRetries.firstPause
        #expect(
            pauses(.ended(JobResult(outcome: .hostError("x"))), limit: 3, asking: 4)
                == [first, first * 2, first * 4, nil])
        #expect(pauses(.ended(JobResult(outcome: .cancelled(by: .drain))), limit: 0, asking: 1) == [nil])
        #expect(pauses(.lost("x"), limit: 1000, asking: 12).last == JobRetries.longestPause)
    }

    @Test func `a worker without room is waited for, however often it says so, and not for ever`() {
        var full = Rejection(code: "queue-full", message: "", isRetryable: true)
        full.retryNanoseconds = 7
        #expect(pauses(.refused(full), limit: 0, asking: 3) == Array(repeating: .nanoseconds(7), count: 3))
        full.retryNanoseconds = .max
        #expect(pauses(.refused(full), limit: 0, asking: 1) == [JobRetries.longestPause])
        #expect(pauses(.refused(.unreadable("x")), limit: 9, asking: 1) == [nil])
        var retries = JobRetries(limit: 0)
        let begin = ContinuousClock.now
        #expect(retries.pause(after: .refused(full), at: begin) != nil)
        #expect(retries.pause(after: .refused(full), at: begin + JobRetries.roomPatience - .seconds(1)) != nil)
        #expect(retries.pause(after: .refused(full), at: begin + JobRetries.roomPatience) == nil)
    }
}
