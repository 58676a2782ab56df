// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation

@testable import KVM
@testable import VMRuntime

/// Makes machines for a test, numbers them, and knows which of them still exist.
///
/// SAFETY: everything is under the lock, and of a machine only its identity is looked at.
final class MachineFoundry: @unchecked Sendable {
    private struct Made {
        weak var machine: Machine?
    }

    private let backend: Backend
    private let lock = NSLock()
    private var made: [Made] = []
    private var failures = 0

    init() throws { backend = try Hardware.backend.get() }

    var make: MachinePool.Make { { [self] kind throws(KVMError) in try makeOne(kind) } }

    /// How many were made.
    var count: Int { lock.withLock { made.count } }
    /// How many still exist.
    var living: Int { lock.withLock { made.count { $0.machine != nil } } }

    /// The place of a machine among all that were made.
    func number(of machine: Machine) -> Int? { lock.withLock { made.firstIndex { $0.machine === machine } } }

    /// Whether the machine of this number still exists.
    func lives(_ number: Int) -> Bool { lock.withLock { made[number].machine != nil } }

    /// Breaks the machine of this number, between two jobs: it cannot be prepared any more.
    func spoil(_ number: Int) {
        lock.withLock {
            guard let machine = made[number].machine else { return }
            // What was stepped is run before the next job, and the kernel refuses to run with a request that it does not know.
            machine.current.vcpu.notes.wasStepped = true
            machine.current.vcpu.runData.pointee.kvm_valid_regs = 1 << 63
        }
    }

    /// What an attempt fails with.
    static let failure = KVMError.call(.createVM, errno: EMFILE)

    /// The next so many attempts fail, as they do without descriptors.
    func fail(_ times: Int) { lock.withLock { failures = times } }

    /// A slot whose machines come from here.
    func slot(_ keeping: MachineKeeping, number: Int = 0) -> Slot {
        Slot(number: number, backend: backend, keeping: keeping, make: make)
    }

    private func makeOne(_ kind: MachineKind) throws(KVMError) -> Machine {
        let fails = lock.withLock {
            failures -= 1
            return failures >= 0
        }
        if fails { throw Self.failure }
        let machine = try Machine(kind, on: backend.hypervisor)
        lock.withLock { made.append(Made(machine: machine)) }
        return machine
    }
}

extension MachineKeeping {
    /// Returns when the slots' threads have ended and none of their machines is left.
    func stop(_ slots: Slot...) async {
        await withCheckedContinuation { continuation in stop(slots) { continuation.resume() } }
    }

    /// Returns when what was to be made is made, and what was to go is gone.
    func settle() {
        nursery.sync {}
        undertaker.wait()
    }
}
