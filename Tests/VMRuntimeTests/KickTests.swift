// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import GuestImage
import JobModel
import KVM
import NIOConcurrencyHelpers
import Testing

@testable import VMRuntime

/// A timer or a cancel can stop a run between any two things that KVM does; none of that is the guest's.
@Suite("Kicks at any instant change no count", .enabled(if: Hardware.isThere, "no usable /dev/kvm"), .serialized)
struct KickTests {
    /// Guests that fault, return, repeat and access: where one run is more or less than one instruction.
    static let guests = GuestProgram.counted.filter { guest in
        !guest.readsTime && (guest.steps ?? 0) <= 1000
            && ["triple-fault", "divide", "iretq", "int", "rep", "out", "in", "mmio", "call", "loop"].contains {
                guest.name.contains($0)
            }
    }

    /// Runs a guest on a thread of its own while this one does nothing but kick it.
    private func runKicked(_ guest: GuestProgram, _ meter: MeterRequest?) async throws -> JobResult {
        var spec = guest.spec(Budget(steps: StepExactnessTests.plenty, wallTime: .seconds(60)))
        spec.meter = meter
        // Without a meter's name the guest runs in slices from its first instruction on, where it can.
        let backend = try (meter == nil ? Eager.backend : Hardware.backend).get()
        let job = try AdmittedJob(image: guest.image, spec: spec, on: backend.profile)
        return try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "kicked").async { [spec] in
                continuation.resume(with: Result { try Self.execute(job, spec, on: backend) })
            }
        }
    }

    private static func execute(_ job: AdmittedJob, _ spec: JobSpec, on backend: Backend) throws -> JobResult {
        let machine = try Machine(job.kind, on: backend.hypervisor)
        try machine.prepare(job.start)
        let execution = Execution(
            machine, budget: spec.budget, reportsPortWrites: false, plan: job.plan,
            control: JobControl(hasInput: false),
            thread: try VCPUThread(), backend: backend.profile, emit: { _ in })
        let kicker = machine.current.vcpu.kicker
        let isOver = NIOLockedValueBox(false)
        let stopped = DispatchSemaphore(value: 0)
        DispatchQueue(label: "kicker").async {
            var pause: UInt64 = 1
            while !isOver.withLockedValue({ $0 }) {
                kicker.kick()
                // At another distance each time, so that the guest gets on and no instant is spared.
                pause = (pause * 1103 + 12345) % 40_000
                let next = MonotonicClock.now + pause
                while MonotonicClock.now < next {}
            }
            stopped.signal()
        }
        defer {
            isOver.withLockedValue { $0 = true }
            stopped.wait()
        }
        guard case .ended(let result) = execution.run() else { throw Run.Missing.result }
        return result
    }

    @Test(
        "A guest that is kicked without end counts as one that is not", arguments: guests,
        [nil, .stepped] as [MeterRequest?])
    func kicked(_ guest: GuestProgram, meter: MeterRequest?) async throws {
        let result = try await runKicked(guest, meter)
        #expect(result.outcome.end == guest.end)
        #expect(result.steps == guest.steps)
        #expect(result.meter == .exact)
    }
}
