// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import Foundation
import JobModel
import KVM
import SeededRandom
import Testing

@testable import VMRuntime

/// A job and all that it left in its machine.
private struct Stretch {
    let result: JobResult
    let console: [UInt8]
    let memory: Data

    /// Runs a job in a machine of its own, which is looked at afterwards.
    static func of(_ job: AdmittedJob, _ control: JobControl = JobControl(hasInput: false)) async throws -> Stretch {
        let backend = try Hardware.backend.get()
        return try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "test.stretch").async {
                continuation.resume(with: Result { try Stretch(job, control, backend) })
            }
        }
    }

    private init(_ job: AdmittedJob, _ control: JobControl, _ backend: Backend) throws {
        final class Console { var bytes: [UInt8] = [] }
        let console = Console()
        control.grantOutput(1 << 30)
        let machine = try Machine(job.kind, on: backend.hypervisor)
        try machine.prepare(job.start)
        let execution = Execution(
            machine, board: job.start.board, budget: job.budget, reportsPortWrites: false, plan: job.plan,
            inquiry: job.inquiry, snapshotOrder: job.snapshotOrder, control: control, thread: try VCPUThread(),
            backend: backend.profile, emit: { if case .output(.console, let bytes) = $0 { console.bytes += bytes } })
        guard case .ended(let result) = execution.run() else { throw Run.Missing.result }
        self.result = result
        self.console = console.bytes
        memory = Data(machine.vm.memory.read(at: 0, count: Int(machine.vm.memory.bytes)) ?? [])
    }
}

/// Splits runs of guests in two by a snapshot, everywhere: what comes out has to be the run in one piece.
@Suite("A run can be split anywhere", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .serialized)
struct SnapshotExactnessTests {
    static let short = GuestProgram.counted.filter { ($0.steps ?? .max) <= 16 && !$0.readsTime }
    static let long = GuestProgram.counted.filter { (17...4000).contains($0.steps ?? .max) && !$0.readsTime }

    @Test("After each of its steps", arguments: short)
    func everywhere(_ guest: GuestProgram) async throws {
        let steps = try #require(guest.steps)
        let straight = try await Straight(guest)
        var snapshots: UInt64 = 0
        for stop in stride(from: UInt64(1), to: steps, by: 1) where try await straight.expectSame(splitAfter: stop) {
            snapshots += 1
        }
        // But for those that retire together there is a point behind each.
        #expect(snapshots > 0 || steps < 3)
    }

    @Test("After steps that chance chooses", arguments: long)
    func somewhere(_ guest: GuestProgram) async throws {
        let steps = try #require(guest.steps)
        let straight = try await Straight(guest)
        var random = SplitMix64(state: guest.name.utf8.reduce(2024) { $0 &* 31 &+ UInt64($1) })
        var snapshots = 0
        for _ in 0..<3
        where try await straight.expectSame(splitAfter: UInt64.random(in: 1..<steps, using: &random)) { snapshots += 1 }
        #expect(snapshots > 0)
    }

    /// A guest's run in one piece, counted and free.
    private struct Straight {
        let guest: GuestProgram
        let counted: Stretch
        let free: Stretch

        init(_ guest: GuestProgram) async throws {
            self.guest = guest
            counted = try await .of(try Self.job(guest, Self.counting))
            free = try await .of(try Self.job(guest, Self.freely))
        }

        private static func job(_ guest: GuestProgram, _ spec: JobSpec) throws -> AdmittedJob {
            try AdmittedJob(image: guest.image, spec: spec.like(guest), on: Hardware.backend.get().profile)
        }

        static let freely: JobSpec = {
            var spec = JobSpec(memoryBytes: 4 << 20)
            spec.report = [.fpu]
            return spec
        }()

        static let counting: JobSpec = {
            var spec = freely
            spec.meter = .exact
            return spec
        }()

        /// Returns whether there was a snapshot.
        func expectSame(splitAfter stop: UInt64) async throws -> Bool {
            let profile = try Hardware.backend.get().profile
            var spec = Self.counting.like(guest)
            spec.snapshot = .steps(stop)
            let terms = SnapshotTerms(name: try #require(SnapshotRun.name), byteLimit: 1 << 30)
            let control = JobControl(hasInput: false)
            let job = try AdmittedJob(image: guest.image, spec: spec, keeping: terms, on: profile)
            let first = try await Stretch.of(job, control)
            // The last steps retired together, and with them the guest ended.
            guard case .snapshotTaken = first.result.outcome else {
                #expect(first.result.outcome == counted.result.outcome && first.result.steps ?? 0 > stop)
                return false
            }
            let snapshot = try #require(control.takeSnapshot())
            let comment = Comment(rawValue: "\(guest.name), split after \(stop) steps")
            let second = try await Stretch.of(try AdmittedJob(from: snapshot, spec: Self.counting, on: profile))
            expectSame(first, second, counted, comment)
            #expect(try #require(first.result.steps) + #require(second.result.steps) == counted.result.steps, comment)
            let freed = try await Stretch.of(try AdmittedJob(from: snapshot, spec: Self.freely, on: profile))
            expectSame(first, freed, free, comment)
            // Counting leaves frames on a program's ring-0 stack.
            #expect(freed.memory == free.memory, comment)
            return true
        }

        private func expectSame(_ first: Stretch, _ second: Stretch, _ whole: Stretch, _ comment: Comment) {
            #expect(second.result.outcome == whole.result.outcome, comment)
            #expect(second.result.registers == whole.result.registers, comment)
            #expect(second.result.system == whole.result.system, comment)
            #expect(second.result.postMortem.fpu == whole.result.postMortem.fpu, comment)
            #expect(first.console + second.console == whole.console, comment)
            let (one, other, both) = (first.result, second.result, whole.result)
            #expect(one.unclaimedPortWrites + other.unclaimedPortWrites == both.unclaimedPortWrites, comment)
            #expect(one.droppedMemoryWrites + other.droppedMemoryWrites == both.droppedMemoryWrites, comment)
        }
    }
}

extension JobSpec {
    /// The same for a guest's image.
    fileprivate func like(_ guest: GuestProgram) -> JobSpec {
        var spec = self
        (spec.mode, spec.loadAddress, spec.registers) = (guest.mode, guest.load, guest.spec().registers)
        return spec
    }
}
