// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
internal import NIOConcurrencyHelpers

/// Makes `KVM_RUN` of one vCPU return early, from any thread.
///
/// A kick is never lost: one that comes before the vCPU enters the guest makes its next ``VirtualCPU/run()`` return at once.
/// After the vCPU is gone, kicking does nothing. Keep it as long as you like.
public final class Kicker: Sendable {
    /// SAFETY: `kick` stays allocated, and its run area mapped, as long as the box holds a target: the vCPU takes the target
    /// out, under the same lock that a kick holds, before it lets go of either.
    @safe private struct Target: @unchecked Sendable {
        var kick: UnsafeMutablePointer<ckvm_kick>
        var thread: Int32?
    }

    private let target: NIOLockedValueBox<Target?>

    init(_ kick: UnsafeMutablePointer<ckvm_kick>) {
        // SAFETY: see Target.
        target = unsafe NIOLockedValueBox(Target(kick: kick, thread: nil))
    }

    /// Asks the vCPU's thread to come back from the guest. Does not block.
    ///
    /// `kvm_run.immediate_exit` and a signal to the thread.
    public func kick() {
        target.withLockedValue { target in
            guard let current = target else { return }
            // SAFETY: see Target; a thread is named only while it is inside VirtualCPU.attach and detach.
            if let thread = current.thread {
                _ = unsafe ckvm_kick(current.kick, thread)
            }
        }
    }

    func attach(thread: Int32) { target.withLockedValue { $0?.thread = thread } }

    func detach() { target.withLockedValue { $0?.thread = nil } }

    /// From here on kicks do nothing.
    func retire() { target.withLockedValue { $0 = nil } }
}
