// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import VMRuntime

/// Port writes per second: the project's run loop and devices against a C loop with a switch.
enum ExitsBenchmark {
    static func run() async throws {
        let runner = try SlotRunner(slots: 1)
        let kvm = try FloorKVM()
        var subjects: [Subject] = []
        var ratios: [Ratio] = []
        let guests = [
            ("real16, no device", Guest.writes16), ("real16, console", .console16), ("user64, no device", .writes64),
        ]
        for (name, guest) in guests {
            let job = try runner.admit(guest, Budget(), exitPerByte: true)
            let start = try FloorMachine.Start(guest.image, guest.mode)
            subjects += [
                Subject(name: "\(name), run loop", unit: "exits") { try runLoop(runner, job) },
                Subject(name: "\(name), C loop", unit: "exits") {
                    let machines = try (0..<repetitions).map { _ in try FloorMachine(start, on: kvm) }
                    return try rate(of: repetitions * Guest.writeCount) { for each in machines { _ = try each.run() } }
                },
            ]
            ratios.append(Ratio(name: "\(name): run loop / C loop", of: "\(name), run loop", to: "\(name), C loop"))
        }
        try await Measurement(subjects: subjects).run().print("exits", ratios: ratios)
    }

    private static let repetitions = 3

    /// By the results' own wall time, as the C loop's does not hold the making of its machine either.
    private static func runLoop(_ runner: SlotRunner, _ job: AdmittedJob) throws -> Double {
        var nanoseconds: UInt64 = 0
        for _ in 0..<repetitions {
            let result = runner.run(job)
            guard [.halted, .exited(code: 0)].contains(result.outcome), result.exits.io >= Guest.writeCount else {
                throw BenchmarkError("a writing guest ended as \(result.outcome) after \(result.exits.io) port exits")
            }
            nanoseconds += result.wallNanoseconds
        }
        return Double(repetitions * Guest.writeCount) / (Double(nanoseconds) / 1e9)
    }
}
