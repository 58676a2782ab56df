// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// What a machine is made for and cannot be changed to cheaply: machines of one kind can take each other's jobs.
struct MachineKind: Sendable, Hashable {
    /// Bytes of guest memory.
    var memoryBytes: UInt64
    /// Whether what differs between machines and between runs is kept from the guest: by CPUID and by the registers it may use.
    var isDeterministic = false
    /// Whether the guest's instructions are counted or told: then no access to a register leaves the guest.
    var isCounted = false
    /// Whether the vCPU's count of emulated instructions will be asked for.
    var countsEmulation = false
    /// Whether a step meter will ask which pages the guest writes.
    var logsWrites = false
    /// Whether the guest's resident memory will be asked for.
    var countsPages = false
    /// How memory is brought back between jobs.
    var restore = RestorePolicy.giveBack
    /// How the addresses that a job has used are forgotten before the next one.
    var translations = TranslationReset.slot
    /// Whether a Linux program's SYSCALL stays at ring 3.
    var callsStayAtRing3 = false
    /// Whether a guest may write KERNEL_GS_BASE by SWAPGS, which no filter sees.
    var exchangesGS = true
    /// The user whose jobs alone may use it, where users do not share machines.
    var tenant: UInt32?
    /// Whether bytes that the guest writes to the console wait in the kernel, without an exit for each.
    var coalescesConsole = false
    /// What the kernel has of a PC's board; nil on a bare board. Such a machine serves one job: no reset takes back what a guest leaves in
    /// the interrupt controllers and the timer.
    var hardware: PCHardware?
    /// How many vCPUs it has. A machine with several serves one job.
    var vcpus = 1
}

extension MachineKind {
    /// What keeps model-specific registers from the guest.
    var filter: MSRFilter {
        hardware != nil ? .board : isDeterministic ? .repeatable : isCounted ? .direct : .noted
    }

    /// What CPUID tells the guest.
    var features: GuestFeatures { hardware != nil ? .board : isDeterministic ? .baseline : .supported }

    /// The kind that a job on the board of a PC needs.
    init(memoryBytes: UInt64, hardware: PCHardware, plan: MeterPlan, budget: Budget, on profile: BackendProfile) {
        self.init(
            memoryBytes: memoryBytes, isCounted: plan != .none, countsEmulation: plan.countsEmulation(on: profile),
            countsPages: budget.touchedBytes != nil, restore: .giveBack, translations: .unneeded, hardware: hardware)
    }

    /// The kind that a job needs.
    init(
        memoryBytes: UInt64, mode: GuestMode, plan: MeterPlan, budget: Budget, isDeterministic: Bool,
        on profile: BackendProfile
    ) {
        self.init(
            memoryBytes: memoryBytes, isDeterministic: isDeterministic, isCounted: plan != .none,
            countsEmulation: plan.countsEmulation(on: profile), logsWrites: plan.logsWrites,
            countsPages: budget.touchedBytes != nil)
        // A program cannot reach its page tables, which are the same for all: on machines without jobs of other modes they stay
        // right.
        translations = mode == .user64 ? .unneeded : profile.translations
        callsStayAtRing3 = mode == .linux && profile.callsStayAtRing3
        exchangesGS = mode != .user64 && mode != .linux && profile.exchangesGS
        if countsPages {
            // What is resident has to be this job's own.
            restore = .giveBack
        } else if logsWrites {
            restore = .clearingLog
        } else {
            restore = profile.restore.policy(memoryBytes: memoryBytes)
        }
    }

    /// Whether a job's console bytes may do without an exit each.
    ///
    /// They may where nobody looks at single exits: no steps are counted, no exits bounded or told, and the run need not be the same
    /// another time. With it the guest may run on for ``CoalescedWrites/limit`` bytes beyond one that ends its job.
    ///
    /// - Parameter reusesMachine: whether the machine will be kept for further jobs. Where it is not, an exit for each byte costs
    ///   less than the end of such a machine: the kernel then waits for all processors, some 15 ms.
    static func coalescesConsole(
        of spec: JobSpec, plan: MeterPlan, reusesMachine: Bool, on profile: BackendProfile
    ) -> Bool {
        let looksAtExits =
            plan != .none || spec.budget.exits != nil || spec.isTraced || spec.isDeterministic
            || !spec.report.isDisjoint(with: [.exits, .digest])
        return profile.coalescesPortWrites && reusesMachine && !looksAtExits
    }
}
