// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import VMRuntime

/// What counting costs: steps per second of a metered job against bare entries into the same guest, and what of the
/// difference the kernel takes for each thing that the meter asks it.
enum StepBenchmark {
    private static let steps = 5_000

    static func run() async throws {
        let runner = try SlotRunner(slots: 1)
        let kvm = try FloorKVM()
        var subjects: [Subject] = []
        var ratios: [Ratio] = []
        let ladder: [(String, FloorMachine.Extras)] = [
            ("C KVM_RUN", []), ("C, RIP and flags synchronised", .generalRegisters),
            ("C, and segments and controls", [.generalRegisters, .systemRegisters]), ("C, and events", .registers),
            ("C, and the emulation count", [.registers, .statistics]),
        ]
        for mode in [GuestMode.real16, .long64] {
            let start = try FloorMachine.Start(Guest.steps(mode).image, mode)
            subjects.append(try metered(runner, mode))
            for (name, extras) in ladder {
                subjects.append(
                    Subject(name: "\(mode.name) \(name)", unit: "steps") {
                        let machine = try FloorMachine(start, on: kvm)
                        return try rate(of: steps) { try machine.step(steps, extras) }
                    })
            }
            ratios += against(mode, ladder.map(\.0), goals: ["C KVM_RUN": 0.9])
        }
        subjects.append(try metered(runner, .user64))
        let traps: [(String, FloorMachine.Extras)] = [
            ("C KVM_RUN to the trap stub", []), ("C trap, settled", .settling),
            ("C trap, settled, registers synchronised", [.settling, .registers]),
        ]
        let start = try FloorMachine.Start(Guest.steps(.user64).image, .user64, trapFlag: true)
        for (name, extras) in traps {
            subjects.append(
                Subject(name: "user64 \(name)", unit: "steps") {
                    let machine = try FloorMachine(start, on: kvm)
                    return try rate(of: steps) { try machine.trap(steps, extras) }
                })
        }
        ratios += against(.user64, traps.map(\.0), goals: [:])
        ratios.append(
            Ratio(name: "user64 metered / long64 C KVM_RUN", of: "user64 metered", to: "long64 C KVM_RUN"))
        try await Measurement(subjects: subjects).run().print("step", ratios: ratios)
    }

    /// A job whose steps run out. The result's own wall time leaves out making and ending the machine.
    private static func metered(_ runner: SlotRunner, _ mode: GuestMode) throws -> Subject {
        let job = try runner.admit(.steps(mode), steps: UInt64(steps), meter: .stepped)
        return Subject(name: "\(mode.name) metered", unit: "steps") {
            let result = runner.run(job)
            guard case .exhausted(.steps, _, UInt64(steps)) = result.outcome, result.meter == .exact else {
                throw BenchmarkError("\(mode.name): \(result.outcome), meter \(result.meter)")
            }
            return Double(steps) / (Double(result.wallNanoseconds) / 1e9)
        }
    }

    private static func against(_ mode: GuestMode, _ floors: [String], goals: [String: Double]) -> [Ratio] {
        floors.map {
            let name = "\(mode.name) metered / \($0)"
            return Ratio(name: name, of: "\(mode.name) metered", to: "\(mode.name) \($0)", goal: goals[$0])
        }
    }
}
