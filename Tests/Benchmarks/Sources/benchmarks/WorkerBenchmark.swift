// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import CFloor

/// What sessions, scheduler, event loop and log cost: jobs per second through kvmjobd as shipped, against a worker in C that brings
/// its machines back as rigorously and speaks as little as can be. The client is the same.
enum WorkerBenchmark {
    /// Jobs on each connection in one measurement.
    private static let jobs = 4000
    private static let shapes: [(connections: Int, window: Int, goal: Double?)] = [
        (2, 32, 0.85), (1, 32, nil), (2, 1, nil),
    ]

    static func run() async throws {
        let worker = try WorkerProcess(slots: 2)
        let floor = try WorkerProcess(floorSpinning: .zero)
        var subjects: [Subject] = []
        var ratios: [Ratio] = []
        for (connections, window, goal) in shapes {
            let shape = "\(connections) connections, \(window) in flight on each"
            let jobs = window == 1 ? jobs / 4 : jobs
            for (name, path, dialect) in [
                ("kvmjobd", worker.socketPath, FLOOR_PROTOCOL), ("C worker", floor.socketPath, FLOOR_MINIMAL),
            ] {
                let load = SocketLoad(
                    path: path, dialect: dialect, connections: connections, window: window, jobs: jobs)
                subjects.append(Subject(name: "\(name), \(shape)", unit: "jobs") { try load.rate() })
            }
            ratios.append(
                Ratio(
                    name: "kvmjobd / C worker, \(shape)", of: "kvmjobd, \(shape)", to: "C worker, \(shape)", goal: goal)
            )
        }
        let results = try await Measurement(subjects: subjects, companions: [worker.identifier, floor.identifier]).run()
        try worker.stop()
        try floor.stop()
        results.print("worker", ratios: ratios)
    }
}
