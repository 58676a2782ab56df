// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor
import Foundation
import JobModel
import KVMJobClient
import VMRuntime

/// One hello, from the start to its result: through a worker's socket, in a slot of this process, by bare system calls, and
/// as a process instead of a virtual machine.
enum JobBenchmark {
    private static let inFlight = 32
    /// Jobs in one measurement.
    private static let jobs = 64

    static func run() async throws {
        let worker = try WorkerProcess(slots: 2)
        let client = try await JobClient.connect(path: worker.socketPath)
        let runner = try SlotRunner(slots: 1)
        let job = try runner.admit(.hello)
        let kvm = try FloorKVM()
        let start = try FloorMachine.Start(Guest.hello.image, Guest.hello.mode)
        let program = try StaticHello.compile()
        let subjects = [
            Subject(name: "socket, one at a time", unit: "jobs") { try await batch(client, width: 1) },
            Subject(name: "socket, \(inFlight) in flight", unit: "jobs") { try await batch(client, width: inFlight) },
            Subject(name: "slot of this process, one at a time", unit: "jobs") {
                try rate(of: jobs) { for _ in 0..<jobs { try inSlot(runner, job) } }
            },
            Subject(name: "C, fresh machine per job", unit: "jobs") {
                try rate(of: jobs) {
                    for _ in 0..<jobs { try expect(FloorMachine(start, on: kvm).run(), "the C loop") }
                }
            },
            Subject(name: "static C program: spawn, read, wait", unit: "jobs") {
                try rate(of: jobs) { for _ in 0..<jobs { try spawn(program) } }
            },
        ]
        let results = try await Measurement(subjects: subjects, companions: [worker.identifier]).run()
        await client.shutdown()
        try worker.stop()
        try FileManager.default.removeItem(atPath: program)
        results.print("job", ratios: ratios(subjects.map(\.name)))
    }

    private static func ratios(_ names: [String]) -> [Ratio] {
        names.dropFirst(3).flatMap { floor in
            names.prefix(3).map { Ratio(name: "\($0) / \(floor)", of: $0, to: floor) }
        }
    }

    /// Keeps `width` jobs in flight, each submitted by a task that waits for the one before.
    private static func batch(_ client: JobClient, width: Int) async throws -> Double {
        let each = jobs / width
        let began = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<width {
                group.addTask { for _ in 0..<each { try await submit(client) } }
            }
            try await group.waitForAll()
        }
        return Double(each * width) / (ContinuousClock.now - began).seconds
    }

    private static func submit(_ client: JobClient) async throws {
        let job = try await client.submit(JobSpec(mode: Guest.hello.mode), image: Guest.hello.image)
        var output: [UInt8] = []
        for try await chunk in job.output { output += chunk.bytes }
        let result = try await job.result()
        guard result.outcome == .halted else { throw BenchmarkError("hello ended as \(result.outcome)") }
        try expect(output, "the worker")
    }

    private static func inSlot(_ runner: SlotRunner, _ job: AdmittedJob) throws {
        let result = runner.run(job)
        guard result.outcome == .halted, result.outputBytes == Guest.helloText.count else {
            throw BenchmarkError("hello ended as \(result.outcome) after \(result.outputBytes) bytes")
        }
    }

    private static func spawn(_ program: String) throws {
        var output = [UInt8](repeating: 0, count: 64)
        let count = try check(floor_spawn(program, &output, UInt64(output.count)), "posix_spawn")
        try expect(Array(output.prefix(Int(count))), "the program")
    }

    private static func expect(_ output: [UInt8], _ who: String) throws {
        guard output == Guest.helloText else { throw BenchmarkError("\(who) printed \(output)") }
    }
}
