// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor
import Foundation

/// One hello at a time, from client to client through the whole protocol, against starting a process that prints the same.
enum RoundTripBenchmark {
    private static let jobs = 500
    /// Processes in one measurement: each takes as long as some jobs.
    private static let processes = 100
    /// How long both sides poll before they sleep.
    static let spin = Duration.microseconds(200)

    static func run() async throws {
        let workers = (
            blocking: try WorkerProcess(slots: 1), spinning: try WorkerProcess(slots: 1, spin: spin),
            floor: try WorkerProcess(floorSpinning: .zero)
        )
        let program = try StaticHello.compile()
        let subjects = [
            Subject(name: "kvmjobd, blocking", unit: "jobs") {
                try SocketLoad(path: workers.blocking.socketPath, dialect: FLOOR_PROTOCOL, jobs: jobs).rate()
            },
            Subject(name: "kvmjobd, both sides spinning", unit: "jobs") {
                try SocketLoad(path: workers.spinning.socketPath, dialect: FLOOR_PROTOCOL, jobs: jobs, spin: spin)
                    .rate()
            },
            Subject(name: "C worker, blocking", unit: "jobs") {
                try SocketLoad(path: workers.floor.socketPath, dialect: FLOOR_MINIMAL, jobs: jobs).rate()
            },
            StaticHello.subject(program, times: processes),
        ]
        let identifiers = [workers.blocking, workers.spinning, workers.floor].map(\.identifier)
        let results = try await Measurement(subjects: subjects, companions: identifiers).run()
        for worker in [workers.blocking, workers.spinning, workers.floor] { try worker.stop() }
        try FileManager.default.removeItem(atPath: program)
        let process = subjects[3].name
        results.print(
            "roundtrip",
            ratios: [
                Ratio(name: "kvmjobd, blocking / a process", of: subjects[0].name, to: process, goal: 2),
                Ratio(name: "kvmjobd, both sides spinning / a process", of: subjects[1].name, to: process, goal: 5),
                Ratio(name: "kvmjobd / C worker, blocking", of: subjects[0].name, to: subjects[2].name),
            ])
    }
}
