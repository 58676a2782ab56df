// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import BareLoop
import Dispatch
import GuestImage
import JobModel
import VMRuntime

extension GoalsBenchmark {
    /// Jobs in slots of this process.
    static func slots(
        _ name: String, _ runner: SlotRunner, _ job: AdmittedJob, times: Int, width: Int, ending outcome: Outcome
    ) -> Subject {
        Subject(name: name, unit: "jobs") {
            try runner.burst(job, times: times, slots: width, ending: outcome)
        }
    }

    /// The same guest by bare system calls in one machine that is brought back before each job.
    static func bareLoop(_ guest: Guest, memoryBytes: UInt64 = JobSpec.defaultMemoryBytes) throws -> Subject {
        let layout = try GuestLayout(flat: guest.image, spec: JobSpec(mode: guest.mode, memoryBytes: memoryBytes))
        let loop = try BareLoop(layout)
        return Subject(name: "C, one machine, \(guest.mode.name)", unit: "jobs") {
            try await loop.run(for: .milliseconds(150)).rate
        }
    }

    /// The same guest in a machine of its own each time, by bare system calls, on so many threads.
    static func freshMachines(_ guest: Guest, times: Int, width: Int) throws -> Subject {
        let start = try FloorMachine.Start(guest.image, guest.mode)
        nonisolated(unsafe) let kvm = try FloorKVM()
        return Subject(name: "C, fresh machine per job", unit: "jobs") {
            nonisolated(unsafe) var errors: [(any Error)?] = Array(repeating: nil, count: width)
            let rate = rate(of: times) {
                DispatchQueue.concurrentPerform(iterations: width) { thread in
                    do {
                        for _ in 0..<(times / width) { _ = try FloorMachine(start, on: kvm).run() }
                    } catch {
                        errors[thread] = error
                    }
                }
            }
            if let error = errors.compactMap({ $0 }).first { throw error }
            return rate
        }
    }
}

extension GoalsBenchmark {
    /// What a slot does, without session, frames and socket.
    static var slotGoals: [Goal] {
        [
            rigorous(.hello, .halted, "real16"), rigorous(.nothing64, .exited(code: 0), "user64"),
            Goal(name: "jobs/s in two slots / C, a fresh machine per job on two threads", bound: .atLeast(32)) {
                let runner = try SlotRunner(slots: 2)
                return try await Goal.measured(
                    of: slots("slots", runner, try runner.admit(.hello), times: 2000, width: 2, ending: .halted),
                    to: freshMachines(.hello, times: 100, width: 2))
            },
            Goal(name: "jobs/s of a computing guest in two slots / in one", bound: .atLeast(1.85)) {
                let runner = try SlotRunner(slots: 2)
                let job = try runner.admit(.compute64)
                let end = Outcome.exited(code: 0)
                return try await Goal.measured(
                    of: slots("two", runner, job, times: 6, width: 2, ending: end),
                    to: slots("one", runner, job, times: 6, width: 1, ending: end))
            },
        ]
    }

    /// Both with the same reset: registers, segments, x87 to AVX state, XCR0, debug registers, memory; MSRs denied.
    private static func rigorous(_ guest: Guest, _ outcome: Outcome, _ mode: String) -> Goal {
        Goal(name: "time of a \(mode) job in a slot / in a C loop with the same reset", bound: .atMost(1.10)) {
            let runner = try SlotRunner(slots: 1)
            return try await Goal.measured(
                of: bareLoop(guest),
                to: slots("slot", runner, try runner.admit(guest), times: 3000, width: 1, ending: outcome))
        }
    }
}
