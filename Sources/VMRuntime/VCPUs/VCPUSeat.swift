// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import JobModel
internal import KVM

/// One vCPU of a machine, and how far it has come where it is one of several.
final class VCPUSeat {
    /// Counts from 0.
    let number: Int
    let vcpu: VirtualCPU

    /// Its own thread; nil on the slot's.
    var thread: VCPUThread?
    /// Counts its steps, where they are counted.
    var meter: DebugExitMeter?
    /// Its processor time, and the budget of that.
    var clock: BudgetWatch?
    /// Its last exits, where they are told.
    var exitLog: ExitLog?
    /// How it came to its end; nil while it can run.
    var ending: Execution.Ending?
    /// Whether it waited, the last time that somebody looked, for what only another one could do.
    var waits = false
    /// Signalled once for each time that it is held at a standstill.
    let release = DispatchSemaphore(value: 0)
    var state: ProcessorReport.State?

    /// Makes the vCPU, with this number, in a machine of this kind.
    init(
        number: Int, of kind: MachineKind, in machine: borrowing VirtualMachine, on hypervisor: borrowing Hypervisor
    ) throws(KVMError) {
        self.number = number
        vcpu = try hypervisor.makeVirtualCPU(
            in: machine, number: UInt32(number), of: UInt32(kind.vcpus), features: kind.features,
            countsEmulation: kind.countsEmulation, translations: kind.translations, exchangesGS: kind.exchangesGS)
    }

    /// Gives it to the calling thread, whose processor time is the vCPU's from here on.
    func occupy() {
        vcpu.attach()
        clock?.start()
    }

    /// Takes it from the calling thread.
    func leave() {
        clock?.stop()
        vcpu.detach()
        thread = nil
    }

    /// Nanoseconds of processor time.
    var processorTime: UInt64 { clock?.time.processor ?? 0 }
}

/// How many vCPUs a job has, and whether they take turns.
struct VCPUPlan: Sendable, Hashable {
    var count = 1
    /// Steps of a turn; nil where all run at once.
    var turn: UInt64?

    static let one = VCPUPlan()
}

extension Budget {
    /// What all vCPUs of a job have together, if there are several.
    var shared: Budget {
        var budget = self
        budget.cpuTime = nil
        return budget
    }

    /// What one of them has for itself besides its steps.
    var ofOneVCPU: Budget { Budget(wallTime: Duration(wholeNanoseconds: .max), cpuTime: cpuTime) }
}
