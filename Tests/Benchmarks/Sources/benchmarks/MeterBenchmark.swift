// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

/// Each meter's steps per second against C in the same run: single-stepping by bare `KVM_RUN`, and no counting at all.
enum MeterBenchmark {
    /// Few enough to be single-stepped in a part of a second.
    private static let steppedSteps = 5_000
    private static let countedSteps = 400_000
    /// Of ``Guest/compute16``.
    private static let freeSteps = 50_002

    static func run() async throws {
        let runner = try SlotRunner(slots: 1)
        let kvm = try FloorKVM()
        let stepped = try FloorMachine.Start(Guest.steps(.real16).image, .real16)
        let free = try FloorMachine.Start(Guest.compute16.image, .real16)
        let subjects = [
            try job(runner, "real16 counted", .steps(.real16), countedSteps),
            try job(runner, "long64 counted", .steps(.long64), countedSteps),
            try job(runner, "real16 counted, writing memory", .calls16, countedSteps),
            try job(runner, "real16 stepped", .steps(.real16), steppedSteps, .stepped),
            try job(runner, "user64 stepped by its trap flag", .steps(.user64), steppedSteps),
            Subject(name: "C single-stepping", unit: "steps") {
                let machine = try FloorMachine(stepped, on: kvm)
                return try rate(of: steppedSteps) { try machine.step(steppedSteps) }
            },
            Subject(name: "C not counting", unit: "steps") {
                let machine = try FloorMachine(free, on: kvm)
                return try rate(of: freeSteps) { _ = try machine.run() }
            },
        ]
        let ratios = [
            ratio("real16 counted", "C single-stepping", goal: 8),
            ratio("long64 counted", "C single-stepping", goal: 8),
            ratio("real16 counted, writing memory", "C single-stepping"),
            ratio("real16 counted", "real16 stepped", goal: 8), ratio("real16 counted", "C not counting"),
            ratio("real16 stepped", "C single-stepping", goal: 0.9),
        ]
        try await Measurement(subjects: subjects).run().print("meter", ratios: ratios)
    }

    private static func ratio(_ subject: String, _ floor: String, goal: Double? = nil) -> Ratio {
        Ratio(name: "\(subject) / \(floor)", of: subject, to: floor, goal: goal)
    }

    /// A job whose steps run out. The result's own wall time leaves out making and ending the machine.
    private static func job(
        _ runner: SlotRunner, _ name: String, _ guest: Guest, _ steps: Int, _ meter: MeterRequest? = nil
    ) throws -> Subject {
        let job = try runner.admit(guest, steps: UInt64(steps), meter: meter)
        return Subject(name: name, unit: "steps") {
            let result = runner.run(job)
            guard case .exhausted(.steps, _, UInt64(steps)) = result.outcome, result.meter == .exact else {
                throw BenchmarkError("\(name): \(result.outcome), meter \(result.meter)")
            }
            return Double(steps) / (Double(result.wallNanoseconds) / 1e9)
        }
    }
}
