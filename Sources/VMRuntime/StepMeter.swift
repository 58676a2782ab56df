// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Counts the steps of one guest, from its first instruction on, over as many runs as the guest has.
///
/// A guest that was stopped at its limit can be run on with a larger one: that gives the same registers, memory and output as one
/// run to the larger limit, and the same count. Between two runs the vCPU may change threads; nothing else may touch it.
///
/// The ``Execution`` keeps its meter and lends it out for a run: what a meter asks of the execution meanwhile must not lead back
/// to the meter. A meter refers to its execution without owning it.
protocol StepMeter {
    /// Lets the guest run until it has taken this many steps in all, or until something else ends the job.
    ///
    /// Out of steps, the outcome is `exhausted(.steps, limit: limit, …)`, the registers are those between two instructions, and no
    /// access of the guest's is left to be completed. After any other outcome the meter is not run again.
    ///
    /// - Parameter limit: at least that of the run before.
    mutating func run(limit: UInt64) throws(KVMError) -> Execution.Ending

    /// The next run is on this thread, the calling one, which may be another than before.
    mutating func changeThread(to thread: VCPUThread) throws(KVMError)
}

extension StepMeter {
    /// Nothing to do for a meter whose state is the vCPU's and its own.
    func changeThread(to thread: VCPUThread) throws(KVMError) {}
}
