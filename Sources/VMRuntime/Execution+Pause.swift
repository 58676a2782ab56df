// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// Between two stretches of one job: it has used up its steps and may be given more.
extension Execution {
    /// Leaves the job as it is if it asked for that, its output sent. Otherwise nil, and the job has come to this ending; the
    /// wait for credit may have brought about another one.
    func pause(at ending: inout Ending) throws(KVMError) -> Pause? {
        guard pauses, case .exhausted(.steps, _, _) = ending.outcome else { return nil }
        if let outcome = flush() {
            ending.outcome = outcome
            return nil
        }
        reportConsumed()
        var standing = JobResult(outcome: ending.outcome)
        try readRegisters(into: &standing, ending)
        stop = ending
        return Pause(
            steps: ending.steps ?? 0, keepNanoseconds: 0, registers: standing.registers, system: standing.system)
    }

    /// Lets a paused job go on, for this many steps more, on a slot's thread that may be another one than before. Blocks it like
    /// ``run(in:on:)``.
    func resume(steps: UInt64, on thread: VCPUThread) -> Departure {
        let limit = (stepLimit ?? 0).addingReportingOverflow(steps)
        stepLimit = limit.overflow ? .max : limit.partialValue
        self.thread = thread
        stop = nil
        do throws(KVMError) {
            try meter?.changeThread(to: thread)
        } catch {
            return .ended(fail(error))
        }
        return runOn()
    }

    /// Ends a paused job: as its canceller wants, or else for want of steps. On any thread, while the job is on no slot's.
    func endPaused() -> JobResult {
        var ending = stop ?? Ending(outcome: .hostError("the job was not paused"))
        stop = nil
        if let canceller = control.canceller { ending.outcome = .cancelled(by: canceller) }
        do throws(KVMError) {
            return try conclude(ending)
        } catch {
            return fail(error)
        }
    }
}
