// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import JobModel
import VMRuntime

/// Does a second slot do the work of a second slot? Jobs per second of guests that only compute.
enum SlotsBenchmark {
    /// Jobs of some 30 ms in one measurement; dealt out evenly.
    private static let jobs = 6

    static func run() async throws {
        let runner = try SlotRunner(slots: 2)
        let kvm = try FloorKVM()
        var subjects: [Subject] = []
        var ratios: [Ratio] = []
        for (name, guest) in [("native loop (user64)", Guest.compute64), ("emulated loop (real16)", .compute16)] {
            let job = try runner.admit(guest)
            let start = try FloorMachine.Start(guest.image, guest.mode)
            for width in [1, 2] {
                subjects += [
                    Subject(name: "\(name), slots: \(width)", unit: "jobs") { try slots(runner, job, width) },
                    Subject(name: "\(name), C threads: \(width)", unit: "jobs") { try threads(kvm, start, width) },
                ]
            }
            ratios += [
                Ratio(name: "\(name): two slots / one", of: "\(name), slots: 2", to: "\(name), slots: 1", goal: 1.85),
                Ratio(name: "\(name): two C threads / one", of: "\(name), C threads: 2", to: "\(name), C threads: 1"),
                Ratio(name: "\(name): two slots / two C threads", of: "\(name), slots: 2", to: "\(name), C threads: 2"),
            ]
        }
        try await Measurement(subjects: subjects).run().print("slots", ratios: ratios)
    }

    private static func slots(_ runner: SlotRunner, _ job: AdmittedJob, _ width: Int) throws -> Double {
        try rate(of: jobs) {
            for outcome in runner.run(job, times: jobs, slots: width) {
                guard [.halted, .exited(code: 0)].contains(outcome) else {
                    throw BenchmarkError("a computing guest ended as \(outcome)")
                }
            }
        }
    }

    /// What this machine gives two threads: a fresh machine for each job too.
    private static func threads(_ kvm: FloorKVM, _ start: FloorMachine.Start, _ width: Int) throws -> Double {
        nonisolated(unsafe) let kvm = kvm
        nonisolated(unsafe) var errors: [(any Error)?] = [nil, nil]
        let rate = rate(of: jobs) {
            DispatchQueue.concurrentPerform(iterations: width) { thread in
                do {
                    for _ in 0..<(jobs / width) { _ = try FloorMachine(start, on: kvm).run() }
                } catch {
                    errors[thread] = error
                }
            }
        }
        if let error = errors.compactMap({ $0 }).first { throw error }
        return rate
    }
}
