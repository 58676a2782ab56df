// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import JobModel
import KVM
import VMRuntime

/// Runs jobs in slots of this process, without sessions, frames or sockets.
final class SlotRunner {
    private let backend: Backend
    private let slots: [Slot]

    init(slots count: Int) throws {
        let backend = try Backend()
        self.backend = backend
        slots = (0..<count).map { Slot(number: $0, backend: backend) }
    }

    deinit { slots.forEach { $0.stop() } }

    func admit(_ guest: Guest, steps: UInt64? = nil, meter: MeterRequest? = nil) throws -> AdmittedJob {
        try admit(guest, Budget(steps: steps), meter: meter)
    }

    /// - Parameter exitPerByte: whether each byte for the console leaves the guest, as on a machine that is not kept.
    func admit(
        _ guest: Guest, _ budget: Budget, memoryBytes: UInt64 = JobSpec.defaultMemoryBytes, meter: MeterRequest? = nil,
        exitPerByte: Bool = false
    ) throws -> AdmittedJob {
        var spec = JobSpec(mode: guest.mode, memoryBytes: memoryBytes, budget: budget)
        spec.meter = meter
        return try AdmittedJob(image: guest.image, spec: spec, on: backend.profile, reusesMachine: !exitPerByte)
    }

    /// A guest that writes this many bytes to the console.
    ///
    /// - Parameter exitPerByte: whether each of them leaves the guest, as on a machine that is not kept.
    func admit(_ guest: Guest, bytes: Int, exitPerByte: Bool) throws -> AdmittedJob {
        let spec = JobSpec(
            mode: guest.mode, registers: [.rcx: UInt64(bytes)], budget: Budget(wallTime: .seconds(1000)))
        return try AdmittedJob(image: guest.image, spec: spec, on: backend.profile, reusesMachine: !exitPerByte)
    }

    /// Runs one job and waits for its result.
    ///
    /// - Parameter credit: the bytes of output that it may write.
    func run(_ job: AdmittedJob, credit: Int = 1 << 20) -> JobResult {
        let done = DispatchSemaphore(value: 0)
        nonisolated(unsafe) var result = JobResult(outcome: .halted)
        let control = JobControl(hasInput: false)
        control.grantOutput(credit)
        slots[0].start(job, control: control) { event in
            guard case .finished(let end) = event else { return }
            result = end
            done.signal()
        }
        done.wait()
        return result
    }

    /// Runs a job this often, dealt out to the first slots, with nothing of its own between two jobs of a slot but a look at the
    /// outcome. Returns jobs per second.
    ///
    /// The jobs of a batch are there before the first of them runs: making them is the client's part, and would take processor time
    /// beside the slots.
    func burst(_ job: AdmittedJob, times count: Int, slots width: Int, ending outcome: Outcome) throws -> Double {
        let wrong = WrongOutcome()
        var time = Duration.zero
        for start in stride(from: 0, to: count, by: Self.batch * width) {
            time += batch(job, min(Self.batch * width, count - start), width) { end in
                if end != outcome { wrong.outcome = end }
            }
        }
        if let outcome = wrong.outcome { throw BenchmarkError("a job ended as \(outcome)") }
        return Double(count) / time.seconds
    }

    /// Jobs that wait in a slot at once: as many as a worker with some busy clients has.
    private static let batch = 128

    /// A job in each slot holds it up until all others are there. Returns how long those took.
    private func batch(
        _ job: AdmittedJob, _ count: Int, _ width: Int, whenDone: @escaping @Sendable (Outcome) -> Void
    ) -> Duration {
        let group = DispatchGroup()
        let gates = (0..<width).map { _ in DispatchSemaphore(value: 0) }
        for number in 0..<width { start(job, in: number) { _ in gates[number].wait() } }
        for number in 0..<count {
            group.enter()
            start(job, in: number % width) { end in
                whenDone(end)
                group.leave()
            }
        }
        return ContinuousClock().measure {
            for gate in gates { gate.signal() }
            group.wait()
        }
    }

    private func start(_ job: AdmittedJob, in number: Int, whenDone: @escaping @Sendable (Outcome) -> Void) {
        let control = JobControl(hasInput: false)
        control.grantOutput(1 << 20)
        slots[number].start(job, control: control) { event in
            if case .finished(let end) = event { whenDone(end.outcome) }
        }
    }

    /// One of the outcomes that should not have been.
    private final class WrongOutcome: Sendable {
        private let lock = DispatchQueue(label: "wrong-outcome")
        nonisolated(unsafe) private var value: Outcome?
        var outcome: Outcome? {
            get { lock.sync { value } }
            set { lock.sync { value = newValue } }
        }
    }

    /// Runs a job this often, dealt out to the first slots, and waits for all. Returns the outcomes.
    func run(_ job: AdmittedJob, times count: Int, slots width: Int) -> [Outcome] {
        let (done, lock) = (DispatchSemaphore(value: 0), DispatchQueue(label: "outcomes"))
        nonisolated(unsafe) var outcomes: [Outcome] = []
        for number in 0..<count {
            let control = JobControl(hasInput: false)
            slots[number % width].start(job, control: control) { event in
                guard case .finished(let end) = event else { return }
                lock.sync { outcomes.append(end.outcome) }
                done.signal()
            }
        }
        for _ in 0..<count { done.wait() }
        return lock.sync { outcomes }
    }
}
