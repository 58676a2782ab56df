// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import JobModel
import VMRuntime

extension Subject {
    /// A job in a slot: the machine is prepared, the guest runs, the machine is left for the next. Needs /dev/kvm.
    static let machines: [Subject] = [
        machine("slot-real16", Samples.spec.mode, Samples.image, .halted),
        // mov al, 0; out 0xF4, al
        machine("slot-user64", .user64, [0xB0, 0x00, 0xE6, 0xF4], .exited(code: 0)),
    ]

    private static func machine(_ name: String, _ mode: GuestMode, _ image: [UInt8], _ outcome: Outcome) -> Subject {
        Subject(name) { times in
            guard let backend = try? Backend(),
                let job = try? AdmittedJob(image: image, spec: JobSpec(mode: mode), on: backend.profile)
            else { preconditionFailure("\(name) needs /dev/kvm") }
            let slot = Slot(number: 0, backend: backend)
            defer { slot.stop() }
            for start in stride(from: 0, to: times, by: batch) {
                run(job, min(batch, times - start), in: slot, outcome)
            }
        }
    }

    /// As many jobs as wait in the slot at once, so that hardly one of them finds it asleep.
    private static let batch = 128

    private static func run(_ job: AdmittedJob, _ count: Int, in slot: Slot, _ outcome: Outcome) {
        let done = DispatchSemaphore(value: 0)
        for number in 1...count {
            let control = JobControl(hasInput: false)
            control.grantOutput(64 << 10)
            slot.start(job, control: control) { event in
                guard case .finished(let result) = event else { return }
                precondition(result.outcome == outcome, "\(result.outcome)")
                if number == count { done.signal() }
            }
        }
        done.wait()
    }
}
