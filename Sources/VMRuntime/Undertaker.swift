// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import KVM
internal import NIOConcurrencyHelpers

/// Destroys machines where no job waits for it: closing one takes the kernel 0.4 to 15 ms, mostly of waiting.
///
/// Only so many wait for it, since each holds descriptors and memory; whoever brings one more destroys that on the own thread, and
/// so makes no new ones meanwhile.
final class Undertaker: Sendable {
    /// Machines that wait at most.
    static let machineLimit = 16
    /// Guest memory of those at most: 1 GiB.
    static let memoryLimit: UInt64 = 1 << 30

    fileprivate struct Load {
        var machines = 0
        var memoryBytes: UInt64 = 0
    }

    private let queue: DispatchQueue
    private let load = NIOLockedValueBox(Load())

    /// - Parameter queue: a serial one.
    init(queue: DispatchQueue = DispatchQueue(label: "kvmjob.undertaker")) { self.queue = queue }

    /// Destroys a machine, soon or, if too many wait already, now. The caller's is the only reference.
    func take(_ machine: consuming Machine) {
        let bytes = machine.kind.memoryBytes
        guard load.withLockedValue({ $0.add(bytes) }) else { return }
        let doomed = Handover(machine)
        queue.async { [load] in
            _ = doomed.take()
            load.withLockedValue { $0.remove(bytes) }
        }
    }

    /// Waits until what was taken is gone.
    func wait() { queue.sync {} }

    /// Calls this, on a thread of its own, when what was taken is gone.
    func notify(_ body: @escaping @Sendable () -> Void) { queue.async(execute: body) }
}

extension Undertaker.Load {
    /// Returns false, and counts nothing, if that would be one too many.
    fileprivate mutating func add(_ bytes: UInt64) -> Bool {
        guard machines < Undertaker.machineLimit, bytes <= Undertaker.memoryLimit - memoryBytes else { return false }
        machines += 1
        memoryBytes += bytes
        return true
    }

    fileprivate mutating func remove(_ bytes: UInt64) {
        machines -= 1
        memoryBytes -= bytes
    }
}
