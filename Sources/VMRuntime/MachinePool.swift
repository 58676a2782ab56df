// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// The machines that a slot keeps between jobs, at most one of each kind. Belongs to the slot's thread: nothing here is locked.
struct MachinePool: ~Copyable {
    /// Makes a machine.
    typealias Make = @Sendable (MachineKind) throws(KVMError) -> Machine

    private let keeping: MachineKeeping
    private let make: Make
    private let successor: Successor?
    /// From the one whose last job is longest ago to the one of the last job.
    private var kept: [Machine] = []
    private var keptBytes: UInt64 = 0

    init(_ keeping: MachineKeeping, make: @escaping Make) {
        (self.keeping, self.make) = (keeping, make)
        successor = keeping.policy == .fresh ? Successor(keeping, make: make) : nil
        kept.reserveCapacity(keeping.machinesPerSlot)
    }

    /// How many are kept.
    var count: Int { kept.count }

    /// A machine for a job of this tenant. One that is there is handed over without a call to the kernel, in whatever state its
    /// last job left it.
    ///
    /// - Parameter tenant: the user that the job belongs to, if that is known.
    mutating func take(_ kind: MachineKind, for tenant: UInt32?) throws(KVMError) -> Machine {
        var kind = kind
        if keeping.policy == .tenant { kind.tenant = tenant }
        if let index = kept.lastIndex(where: { $0.kind == kind }) {
            keeping.counts.noteReset()
            return remove(at: index)
        }
        keeping.counts.noteMade()
        if let machine = successor?.exchange(for: kind) { return machine }
        return try makeOne(kind)
    }

    /// Keeps a machine whose job has ended, or has it destroyed. The caller's is the only reference.
    mutating func putBack(_ machine: consuming Machine) {
        guard mayKeep(machine) else { return keeping.undertaker.take(machine) }
        machine.giveBackExcess()
        guard !machine.mustRetire else { return keeping.undertaker.take(machine) }
        let room = keeping.memoryBytesPerSlot - machine.kind.memoryBytes
        while kept.count >= keeping.machinesPerSlot || keptBytes > room { discardOldest() }
        keptBytes += machine.kind.memoryBytes
        kept.append(machine)
    }

    /// Has the machines give back host memory that they do not need.
    mutating func trim() {
        kept.forEach { $0.trim() }
        for index in kept.indices.reversed() where kept[index].mustRetire { keeping.undertaker.take(remove(at: index)) }
    }

    /// Gives up all machines but this many, those first whose last job is longest ago.
    mutating func shrink(to count: Int) {
        while kept.count > count { discardOldest() }
    }

    /// Gives up everything, for good.
    mutating func close() {
        shrink(to: 0)
        successor?.close()
    }

    private borrowing func mayKeep(_ machine: Machine) -> Bool {
        let kind = machine.kind
        return keeping.mayKeepMachine(memoryBytes: kind.memoryBytes, of: kind.tenant) && !machine.mustRetire
            && !kept.contains { $0.kind == kind }
    }

    private mutating func remove(at index: Int) -> Machine {
        let machine = kept.remove(at: index)
        keptBytes -= machine.kind.memoryBytes
        return machine
    }

    private mutating func discardOldest() { keeping.undertaker.take(remove(at: 0)) }

    /// What is kept, and what still waits to be destroyed, may be what a new machine lacks.
    private mutating func makeOne(_ kind: MachineKind) throws(KVMError) -> Machine {
        do throws(KVMError) {
            return try make(kind)
        } catch {
            shrink(to: 0)
            keeping.undertaker.wait()
            return try make(kind)
        }
    }
}
