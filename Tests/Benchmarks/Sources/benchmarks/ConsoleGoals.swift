// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

extension GoalsBenchmark {
    /// Bytes to COM1, 16 KiB a job, so that a round takes about a second: 10 MiB by an exit for each byte take minutes.
    static var consoleGoals: [Goal] {
        [
            console(.print64, .exited(code: 0), times: 8, bound: .atLeast(5), "at ring 3"),
            console(.print16, .halted, times: 8, bound: .atLeast(2.5), "in real mode"),
        ]
    }

    private static func console(
        _ guest: Guest, _ outcome: Outcome, times: Int, bound: Goal.Bound, _ place: String
    ) -> Goal {
        Goal(name: "bytes/s of console output \(place) / in C with an exit for each byte", bound: bound) {
            let runner = try SlotRunner(slots: 1)
            let job = try runner.admit(guest)
            let kvm = try FloorKVM()
            let start = try FloorMachine.Start(guest.image, guest.mode)
            return try await Goal.measured(
                of: Subject(name: "slot", unit: "bytes") {
                    try runner.burst(job, times: times, slots: 1, ending: outcome) * Double(Guest.printCount)
                },
                to: Subject(name: "C, an exit for each byte", unit: "bytes") {
                    let machine = try FloorMachine(start, on: kvm)
                    return try rate(of: Guest.printCount) { _ = try machine.run() }
                })
        }
    }
}
