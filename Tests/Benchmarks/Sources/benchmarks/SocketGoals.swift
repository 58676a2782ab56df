// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor
import Foundation
import JobModel

/// `kvmjob bench`, as a process, against a worker.
enum LoadTool {
    /// Jobs per second.
    static func rate(_ worker: WorkerProcess, _ arguments: [String]) throws -> Double {
        let common = ["bench", "--json", "--socket", worker.socketPath, "--warmup", "20ms"]
        let text = try BuiltProgram.run("kvmjob", common + arguments)
        guard let report = try JSONSerialization.jsonObject(with: text) as? [String: Any],
            let rate = report["jobs_per_second"] as? Double, rate > 0, report["unexpected"] as? Int == 0
        else { throw BenchmarkError("kvmjob bench reported \(String(decoding: text, as: UTF8.self))") }
        return rate
    }

    static func subject(_ name: String, _ worker: WorkerProcess, _ arguments: [String]) -> Subject {
        Subject(name: name, unit: "jobs") { try rate(worker, arguments) }
    }
}

extension GoalsBenchmark {
    /// What a client sees: kvmjobd as a process, its socket, the whole protocol.
    static var socketGoals: [Goal] { [bareWorker, roundTrip, spinningRoundTrip, knownImage] }

    /// The same client in C for both, the worker in C with a minimal frame.
    private static var bareWorker: Goal {
        Goal(name: "jobs/s of kvmjobd, 2 connections, window 32 / of a bare worker in C", bound: .atLeast(0.85)) {
            let worker = try WorkerProcess(slots: 2)
            let floor = try WorkerProcess(floorSpinning: .zero)
            func load(_ name: String, _ path: String, _ dialect: floor_dialect) -> Subject {
                let load = SocketLoad(path: path, dialect: dialect, connections: 2, window: 32, jobs: 4000)
                return Subject(name: name, unit: "jobs") { try load.rate() }
            }
            let finding = try await Goal.measured(
                [worker.identifier, floor.identifier],
                of: load("kvmjobd", worker.socketPath, FLOOR_PROTOCOL),
                to: load("C worker", floor.socketPath, FLOOR_MINIMAL))
            try worker.stop()
            try floor.stop()
            return finding
        }
    }

    private static var roundTrip: Goal {
        Goal(name: "time of a round trip, client to client / of a static hello's process", bound: .atMost(0.5)) {
            try await compareWithProcess(spin: .zero)
        }
    }

    private static var spinningRoundTrip: Goal {
        Goal(name: "the same, both sides spinning", bound: .atMost(0.2)) {
            try await compareWithProcess(spin: RoundTripBenchmark.spin)
        }
    }

    private static func compareWithProcess(spin: Duration) async throws -> Goal.Finding {
        let worker = try WorkerProcess(slots: 1, spin: spin)
        let program = try StaticHello.compile()
        let load = SocketLoad(path: worker.socketPath, dialect: FLOOR_PROTOCOL, jobs: 500, spin: spin)
        let finding = try await Goal.measured(
            [worker.identifier], of: StaticHello.subject(program, times: 100),
            to: Subject(name: "round trip", unit: "jobs") { try load.rate() })
        try worker.stop()
        try FileManager.default.removeItem(atPath: program)
        return finding
    }

    private static var knownImage: Goal {
        Goal(name: "time of a job with an image of 1 MiB that the worker has / of 64 bytes", bound: .atMost(1.1)) {
            let worker = try WorkerProcess(slots: 1)
            let (small, large) = (try padded(64), try padded(1 << 20))
            let arguments = ["--mode", "user64", "--connections", "1", "--window", "8", "--jobs", "200"]
            let finding = try await Goal.measured(
                [worker.identifier], of: LoadTool.subject("64 bytes", worker, [small] + arguments),
                to: LoadTool.subject("1 MiB", worker, [large] + arguments))
            try worker.stop()
            for file in [small, large] { try FileManager.default.removeItem(atPath: file) }
            return finding
        }
    }

    /// A file with a guest that exits at once, and something else than zeros behind it.
    private static func padded(_ count: Int) throws -> String {
        let image = Guest.nothing64.image + Array(repeating: 0xCC, count: count - Guest.nothing64.image.count)
        let path = "/tmp/kvmjob-benchmarks-image-\(count)-\(getpid())"
        try Data(image).write(to: URL(fileURLWithPath: path))
        return path
    }
}
