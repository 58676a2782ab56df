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
    /// The user whose jobs alone may use it, where users do not share machines.
    var tenant: UInt32?
}

extension MachineKind {
    /// What keeps model-specific registers from the guest.
    var filter: MSRFilter { isDeterministic ? .repeatable : isCounted ? .direct : .noted }

    /// The kind that a job needs.
    init(
        memoryBytes: UInt64, plan: MeterPlan, budget: Budget, isDeterministic: Bool, on profile: BackendProfile
    ) {
        self.init(
            memoryBytes: memoryBytes, isDeterministic: isDeterministic, isCounted: plan != .none,
            countsEmulation: plan.countsEmulation(on: profile), logsWrites: plan.logsWrites,
            countsPages: budget.touchedBytes != nil)
        if countsPages {
            // What is resident has to be this job's own.
            restore = .giveBack
        } else if logsWrites {
            restore = .clearingLog
        } else {
            restore = profile.restore.policy(memoryBytes: memoryBytes)
        }
    }
}
