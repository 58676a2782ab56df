// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import KVMJobClient
import Testing

@testable import Worker

@Suite("A worker's machines", .enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(2)))
struct MachineTests {
    /// This process's descriptors of virtual machines and vCPUs.
    private static func machineDescriptors() throws -> Int {
        let folder = "/proc/self/fd/"
        return try FileManager.default.contentsOfDirectory(atPath: folder).count { name in
            // A descriptor may be closed since it was listed.
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: folder + name)
            return target?.contains("kvm-v") ?? false
        }
    }

    /// Runs jobs of several kinds, one of them until it is paused, and drains.
    private static func work(_ machines: MachinePolicy) async throws -> (kept: Int, left: Int) {
        let worker = try await TestWorker(machines: machines)
        let client = try await worker.connect()
        for mebibytes: UInt64 in [1, 2, 3, 1, 2, 3] {
            // mov cx, 100; again: loop again; hlt
            let image: [UInt8] = [0xB9, 100, 0, 0xE2, 0xFE, 0xF4]
            let spec = JobSpec(memoryBytes: mebibytes << 20, budget: Budget(steps: mebibytes == 3 ? 1000 : nil))
            _ = try await client.submit(spec, image: image).result()
        }
        var spec = JobSpec(budget: Budget(steps: 10))
        spec.pausesWhenStepsRunOut = true
        let paused = try await client.submit(spec, image: [0xEB, 0xFE])
        // A pause comes behind the output before it.
        paused.discardOutput()
        for await _ in paused.pauses { break }
        let kept = try machineDescriptors()
        async let drained: Void = worker.worker.drain(grace: .seconds(20))
        _ = try await paused.result()
        await client.shutdown()
        await drained
        return (kept, try machineDescriptors())
    }

    // In a process of its own: other tests have machines too.
    @Test func `a drain leaves no machine behind, whichever are kept`() async throws {
        await #expect(processExitsWith: .success) {
            for machines in MachinePolicy.allCases {
                let (kept, left) = try await Self.work(machines)
                guard left == 0, kept > 0 else { fatalError("\(machines): \(kept) descriptors, then \(left)") }
            }
        }
    }

    @Test func `a drained worker drains at once when asked again`() async throws {
        let worker = try await TestWorker()
        for _ in 0..<3 { await worker.worker.drain(grace: .zero) }
        #expect(await worker.worker.status.isDraining)
    }

    @Test func `a user whom the kernel cannot name shares with nobody`() {
        #expect(Peer(process: 1, user: 1000).tenant == 1000)
        #expect(Peer(process: 1, user: 0).tenant == 0)
        #expect(Peer(process: nil, user: nil).tenant == nil)
        #expect(Peer(process: 1, user: 65534).tenant == nil, "what all users are who have no number here")
    }

    @Test func `the machines of a worker are bounded`() {
        let limits = WorkerLimits(pausedJobs: 10, keptMachinesPerSlot: 3)
        // Running, next, and three kept in each of two slots; paused ones; those that wait to be destroyed.
        #expect(limits.machines(slots: 2) == 2 * 5 + 10 + 16)
    }
}
