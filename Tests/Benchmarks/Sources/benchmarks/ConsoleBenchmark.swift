// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import VMRuntime

/// Console bytes per second, without an exit for each byte and with one: the same guests on the same run loop.
///
/// Both sides by the results' own wall time, so that the making of a machine is in neither, and the rates stand for any amount;
/// that they do for 10 MiB is shown once, on the side on which that takes less than minutes.
enum ConsoleBenchmark {
    /// Bytes of one measurement on the two sides, for a few tenths of a second each.
    private static let (gatheredBytes, exitingBytes) = (64 << 10, 16 << 10)
    private static let largeBytes = 10 << 20

    static func run() async throws {
        let runner = try SlotRunner(slots: 1)
        var subjects: [Subject] = []
        var ratios: [Ratio] = []
        let guests: [(name: String, guest: Guest, goal: Double?)] = [
            ("real16, byte after byte", .chatter16, 2.5), ("user64, byte after byte", .chatter64, 5),
            ("real16, polling LSR", .polite16, nil), ("user64, polling LSR", .polite64, nil),
        ]
        for (name, guest, goal) in guests {
            subjects += [
                try subject("\(name), coalesced", guest, gatheredBytes, exitPerByte: false, runner),
                try subject("\(name), an exit each", guest, exitingBytes, exitPerByte: true, runner),
            ]
            ratios.append(
                Ratio(
                    name: "\(name): coalesced / an exit each", of: "\(name), coalesced", to: "\(name), an exit each",
                    goal: goal))
        }
        try await Measurement(subjects: subjects).run().print("console", ratios: ratios)
        for (name, guest, _) in guests.prefix(2) {
            let job = try runner.admit(guest, bytes: largeBytes, exitPerByte: false)
            let seconds = Double(largeBytes) / (try rate(runner, job, largeBytes))
            print("  10 MiB, \(name), coalesced: \(Spread.number(seconds, 1)) s")
        }
    }

    private static func subject(
        _ name: String, _ guest: Guest, _ bytes: Int, exitPerByte: Bool, _ runner: SlotRunner
    ) throws -> Subject {
        let job = try runner.admit(guest, bytes: bytes, exitPerByte: exitPerByte)
        return Subject(name: name, unit: "bytes") { try rate(runner, job, bytes) }
    }

    private static func rate(_ runner: SlotRunner, _ job: AdmittedJob, _ bytes: Int) throws -> Double {
        let result = runner.run(job, credit: bytes)
        guard [.halted, .exited(code: 0)].contains(result.outcome), result.outputBytes == bytes else {
            throw BenchmarkError("a talking guest ended as \(result.outcome) after \(result.outputBytes) bytes")
        }
        return Double(bytes) / (Double(result.wallNanoseconds) / 1e9)
    }
}
