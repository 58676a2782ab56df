// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation

@main
enum Benchmarks {
    private static let all: [(name: String, run: @Sendable () async throws -> Void)] = [
        ("slots", SlotsBenchmark.run), ("step", StepBenchmark.run), ("meter", MeterBenchmark.run),
        ("job", JobBenchmark.run), ("exits", ExitsBenchmark.run), ("budgets", BudgetsBenchmark.run),
        ("restore", RestoreBenchmark.run),
        ("console", ConsoleBenchmark.run),
        ("worker", WorkerBenchmark.run), ("roundtrip", RoundTripBenchmark.run),
        ("allocations", AllocationsBenchmark.run),
        ("goals", GoalsBenchmark.run),
    ]

    static func main() async {
        var names = CommandLine.arguments.dropFirst()
        if let place = names.firstIndex(of: "--rounds") {
            guard let rounds = names[(place + 1)...].first.flatMap({ Int($0) }), rounds > 0 else {
                print("--rounds needs a number")
                exit(64)
            }
            Measurement.rounds = rounds
            names.removeSubrange(place...place + 1)
        }
        let known = all.map(\.name)
        if let unknown = names.first(where: { !known.contains($0) }) {
            print("there is no benchmark \(unknown): choose among \(known.joined(separator: ", "))")
            exit(64)
        }
        for benchmark in all where names.isEmpty || names.contains(benchmark.name) {
            do {
                try await benchmark.run()
            } catch {
                print("\n\(benchmark.name) failed: \(error)")
                exit(1)
            }
        }
    }
}
