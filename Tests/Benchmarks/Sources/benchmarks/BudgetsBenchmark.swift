// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import VMRuntime

/// How far beyond each budget a guest gets that never ends: used less limit, job by job. Absolute figures, of one slot.
enum BudgetsBenchmark {
    private static let jobs = 1000
    private static let time = Duration.milliseconds(3)
    private static let count: UInt64 = 300
    private static let touched: UInt64 = 1 << 20
    /// More than is touched before the budget's end, however late that is seen.
    private static let memory: UInt64 = 256 << 20

    private struct Subject {
        let name: String
        let guest: Guest
        let budget: Budget
        /// What is printed, and how much of what is counted that is.
        let unit: String
        var scale = 1.0
    }

    static func run() async throws {
        let runner = try SlotRunner(slots: 1)
        print("\nbudgets: overshoot over \(jobs) jobs each")
        for (kind, mode) in [("emulated", GuestMode.long64), ("native", .user64)] {
            for subject in subjects(kind, mode) { try measure(subject, runner) }
        }
    }

    private static func subjects(_ kind: String, _ mode: GuestMode) -> [Subject] {
        [
            Subject(
                name: "wall time of 3 ms, \(kind) loop", guest: .steps(mode), budget: Budget(wallTime: time),
                unit: "us", scale: 1000),
            Subject(
                name: "CPU time of 3 ms, \(kind) loop", guest: .steps(mode), budget: Budget(cpuTime: time),
                unit: "us", scale: 1000),
            Subject(
                name: "memory of 1 MiB, \(kind) loop", guest: .touch(mode), budget: Budget(touchedBytes: touched),
                unit: "KiB", scale: 1024),
            Subject(
                name: "\(count) exits, \(kind) loop", guest: .talk(mode), budget: Budget(exits: count), unit: "exits"),
            Subject(
                name: "\(count) bytes of output, \(kind) loop", guest: .talk(mode), budget: Budget(outputBytes: count),
                unit: "bytes"),
            Subject(
                name: "\(count) steps, \(kind) mode", guest: .steps(mode), budget: Budget(steps: count), unit: "steps"),
        ]
    }

    private static func measure(_ subject: Subject, _ runner: SlotRunner) throws {
        let job = try runner.admit(subject.guest, subject.budget, memoryBytes: memory)
        _ = runner.run(job)
        let before = try ProcessorTime(companions: [])
        let overshoots = try (0..<jobs).map { _ in
            let outcome = runner.run(job).outcome
            guard case .exhausted(_, let limit, let used) = outcome, used >= limit else {
                throw BenchmarkError("\(subject.name): ended as \(outcome)")
            }
            return Double(used - limit) / subject.scale
        }.sorted()
        let others = try before.othersShare(until: ProcessorTime(companions: [])) * 100
        let figures = [("median", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1)].map { name, share in
            "\(name) \(Spread.number(overshoots[min(jobs - 1, Int(Double(jobs) * share))], subject.scale > 1 ? 1 : 0))"
        }
        let name = subject.name.padding(toLength: 40, withPad: " ", startingAt: 0)
        print(
            "  \(name) \(figures.joined(separator: ", ")) \(subject.unit); others took \(Spread.number(others, 0)) % of "
                + "one core")
    }
}
