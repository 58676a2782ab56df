// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// The processor's own count of the instructions that guests retire on one thread.
///
/// A ``VCPUThread`` has one, to be used only there. It counts while the thread is inside a guest, so neither the kernel's
/// nor the worker's instructions; instructions that KVM carries out in the guest's place, such as CPUID, it does not count.
///
/// `perf_event_open`: hardware instructions, `exclude_host`, `pinned`.
public final class InstructionCounter {
    private let descriptor: OwnedDescriptor

    /// Opens the counter of the calling thread.
    ///
    /// - Throws: ``KVMError/call(_:errno:)`` with `ENOENT` where there is no such counter, as in most virtual machines, and
    ///   `EACCES` or `EPERM` where this user may not have it (`/proc/sys/kernel/perf_event_paranoid`).
    init() throws(KVMError) {
        descriptor = OwnedDescriptor(try KVMError.check(ckvm_open_instruction_counter(), .countInstructions))
    }

    /// Counts from zero on, and kicks this thread's vCPU once this many instructions, at least 1, have been counted. The kick
    /// comes late, by as many instructions as the processor runs before its overflow interrupt.
    public func start(kickAfter period: UInt64) throws(KVMError) {
        _ = try KVMError.check(
            ckvm_start_instruction_counter(descriptor.number, max(1, period)), .countInstructions)
    }

    /// Stops counting and returns the count; nil when the counter was not on the processor all the time.
    public func stop() throws(KVMError) -> UInt64? {
        _ = try KVMError.check(ckvm_stop_instruction_counter(descriptor.number), .countInstructions)
        var count: UInt64 = 0
        // SAFETY: the call stores one number.
        let result = unsafe ckvm_read_instruction_counter(descriptor.number, &count)
        guard result != -Self.lost else { return nil }
        _ = try KVMError.check(result, .countInstructions)
        return count
    }

    /// `EAGAIN`
    private static let lost: Int32 = 11
}
