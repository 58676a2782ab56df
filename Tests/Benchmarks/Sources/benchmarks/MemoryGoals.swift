// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel

extension GoalsBenchmark {
    static var memoryGoals: [Goal] { [restored, idle] }

    /// The C loop knows which pages the guest writes, and copies those: nobody can copy less.
    private static var restored: Goal {
        Goal(
            name: "time of a job that writes 1 MiB of 64 MiB / in C, copying exactly what was written",
            bound: .atMost(1.1)
        ) {
            let memory: UInt64 = 64 << 20
            let runner = try SlotRunner(slots: 1)
            let job = try runner.admit(.writeMebibyte, Budget(), memoryBytes: memory)
            return try await Goal.measured(
                of: bareLoop(.writeMebibyte, memoryBytes: memory),
                to: slots("slot", runner, job, times: 500, width: 1, ending: .exited(code: 0)))
        }
    }

    /// What a worker holds more after its jobs than before the first one, by machine that it keeps.
    private static var idle: Goal {
        Goal(name: "MiB resident of an idle machine with 16 MiB of guest memory", bound: .atMost(1)) {
            let worker = try WorkerProcess(slots: 8)
            let before = try worker.residentBytes()
            _ = try LoadTool.rate(worker, ["--connections", "1", "--window", "64", "--jobs", "2000"])
            let machines = try worker.machines()
            let after = try worker.residentBytes()
            try worker.stop()
            guard machines > 0 else { return .unmeasured("THE WORKER KEEPS NO MACHINE") }
            let each = Double(max(0, after - before)) / Double(machines) / Double(1 << 20)
            return .measured(Spread([each]), rounds: "\(machines) machines, once")
        }
    }
}

extension WorkerProcess {
    /// Its own share of host memory: what it has in common with other processes is divided among them.
    func residentBytes() throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(identifier)/smaps_rollup", encoding: .utf8)
        let line = text.split(separator: "\n").first { $0.hasPrefix("Pss:") }
        guard let kibibytes = line?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
            throw BenchmarkError("/proc/PID/smaps_rollup reads unlike Linux's")
        }
        return kibibytes << 10
    }

    /// Virtual machines that it has.
    func machines() throws -> Int {
        let folder = "/proc/\(identifier)/fd"
        return try FileManager.default.contentsOfDirectory(atPath: folder).filter { name in
            // A descriptor can be gone by now.
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(name)")
            return target == "anon_inode:kvm-vm"
        }.count
    }
}
