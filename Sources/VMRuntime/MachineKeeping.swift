// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
public import JobModel
internal import KVM

/// How the slots of a worker keep machines between jobs, and what they share to do so.
public struct MachineKeeping: Sendable {
    /// Machines that a slot keeps beside the one that runs, unless the worker is told otherwise: 4.
    ///
    /// One for each kind of job that its clients mix: `user64` or another mode, size, deterministic or not, counted or not make one.
    public static let defaultMachinesPerSlot = 4
    /// Guest memory of the machines that a slot keeps, unless the worker is told otherwise: 1 GiB.
    public static let defaultMemoryBytesPerSlot: UInt64 = 1 << 30
    /// Machines of a slot beside those that it keeps: the one that runs, and where none is used twice the next one.
    public static let machinesInUsePerSlot = 2
    /// Machines of all slots that wait to be destroyed: 16.
    public static let doomedMachines = Undertaker.machineLimit

    /// How long a slot waits for a job before its machines give back the host memory that they do not need: 250 ms.
    static let trimDelay = Duration.milliseconds(250)
    /// How long it waits then before it keeps one machine only: 10 s.
    static let shrinkDelay = Duration.seconds(10)

    /// Which jobs may follow one another on a machine.
    public let policy: MachinePolicy
    let machinesPerSlot: Int
    let memoryBytesPerSlot: UInt64
    var trimDelay = Self.trimDelay
    var shrinkDelay = Self.shrinkDelay
    let undertaker = Undertaker()
    /// What the slots' machines have been through.
    public let counts = MachineCounts()
    /// Where machines are made while jobs run: one at a time, since KVM makes them hardly faster on several threads.
    let nursery = DispatchQueue(label: "kvmjob.nursery")

    /// - Parameters:
    ///   - machinesPerSlot: how many machines a slot keeps at most beside the one that runs.
    ///   - memoryBytesPerSlot: how much guest memory those may have in all; one with more is not kept.
    public init(
        policy: MachinePolicy = .pooled, machinesPerSlot: Int = Self.defaultMachinesPerSlot,
        memoryBytesPerSlot: UInt64 = Self.defaultMemoryBytesPerSlot
    ) {
        (self.policy, self.machinesPerSlot) = (policy, machinesPerSlot)
        self.memoryBytesPerSlot = memoryBytesPerSlot
    }

    /// Whether a machine can serve another job after this one: by the policy, and by the room for it.
    ///
    /// - Parameter tenant: the user that the job belongs to, if that is known.
    public func mayKeepMachine(memoryBytes: UInt64, of tenant: UInt32?) -> Bool {
        let mayServeAgain =
            switch policy {
            case .pooled: true
            case .tenant: tenant != nil
            case .fresh: false
            }
        return mayServeAgain && machinesPerSlot > 0 && memoryBytes <= memoryBytesPerSlot
    }

    /// Ends the threads of all slots that share this, after what was started in them. Does not block.
    ///
    /// - Parameter whenGone: called on a thread of its own when none of their machines is left.
    public func stop(_ slots: [Slot], whenGone: @escaping @Sendable () -> Void) {
        let stopping = DispatchGroup()
        for slot in slots {
            stopping.enter()
            slot.stop { stopping.leave() }
        }
        // Behind a machine that is still being made, and behind those that wait to be destroyed.
        let undertaker = undertaker
        stopping.notify(queue: nursery) { undertaker.notify(whenGone) }
    }
}
