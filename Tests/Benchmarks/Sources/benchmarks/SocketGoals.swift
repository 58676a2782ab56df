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

    /// WIRE: needs CFloor's worker behind a socket, with the same reset and a minimal frame, and a client in C that drives both
    /// workers: two connections, 32 jobs in flight on each, the journal as kvmjobd ships it.
    private static var bareWorker: Goal {
        Goal(name: "jobs/s of kvmjobd, 2 connections, window 32 / of a bare worker in C", bound: .atLeast(0.85)) {
            .unmeasured("CFLOOR HAS NO WORKER BEHIND A SOCKET")
        }
    }

    /// `posix_spawn`, which does not copy page tables as fork does, reading the output, and waiting.
    private static func process(_ program: String) -> Subject {
        Subject(name: "static C program", unit: "jobs") {
            let times = 64
            return try rate(of: times) {
                for _ in 0..<times {
                    var output = [UInt8](repeating: 0, count: 64)
                    let count = try check(floor_spawn(program, &output, UInt64(output.count)), "posix_spawn")
                    guard output.prefix(Int(count)) == Guest.helloText[...] else {
                        throw BenchmarkError("the program printed \(output)")
                    }
                }
            }
        }
    }

    private static var roundTrip: Goal {
        Goal(name: "time of a round trip, client to client / of a static hello's process", bound: .atMost(0.5)) {
            try await compareWithProcess()
        }
    }

    /// WIRE: needs a client that polls, as CFloor's; kvmjob bench sleeps until a result comes.
    private static var spinningRoundTrip: Goal {
        Goal(name: "the same, both sides spinning", bound: .atMost(0.2)) {
            .unmeasured("THERE IS NO CLIENT THAT SPINS")
        }
    }

    private static func compareWithProcess() async throws -> Goal.Finding {
        let worker = try WorkerProcess(slots: 1)
        let program = try StaticHello.compile()
        let arguments = ["--connections", "1", "--window", "1", "--jobs", "400"]
        let finding = try await Goal.measured(
            worker.identifier, of: process(program), to: LoadTool.subject("round trip", worker, arguments))
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
                worker.identifier, of: LoadTool.subject("64 bytes", worker, [small] + arguments),
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
