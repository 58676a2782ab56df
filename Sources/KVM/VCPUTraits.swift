// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// What a vCPU is made with.
struct VCPUTraits: Sendable {
    /// Bytes of the run area.
    let runAreaBytes: Int
    /// What CPUID tells the guest.
    let cpuid: CPUIDTable
    /// Which registers come and go through the run area: `KVM_SYNC_X86_*`, all that are used or none.
    let synchronised: UInt64
    /// Bytes of XSAVE state.
    let extendedBytes: Int
    /// Whether there is an XCR0.
    let hasExtendedControls: Bool
    /// Which page of the run area is the ring of coalesced writes; nil where there is none.
    let ringPage: Int?
    /// Whether the count of emulated instructions will be asked for.
    let countsEmulation: Bool
    /// How translations of addresses are forgotten.
    let translations: TranslationReset
    /// Whether the guest may write KERNEL_GS_BASE unseen.
    let exchangesGS: Bool
    /// The machine's filter; nil where the guest may write all there is.
    let filter: MSRFilter?
    /// Without a filter, what a guest might write.
    let unfilteredMSRs: [UInt32]

    /// - Parameter capabilities: as the kernel answered.
    init(
        runAreaBytes: Int, cpuid: CPUIDTable, capabilities: [Capability: Int32], ringPage: Int?,
        countsEmulation: Bool, translations: TranslationReset, exchangesGS: Bool,
        filter: MSRFilter?, unfilteredMSRs: [UInt32]
    ) {
        let wanted = UInt64(KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)
        let offered = UInt64(UInt32(bitPattern: capabilities[.syncRegisters] ?? 0))
        synchronised = offered & wanted == wanted ? wanted : 0
        extendedBytes = max(MemoryLayout<kvm_xsave>.size, Int(capabilities[.largeXSAVE] ?? 0))
        hasExtendedControls = capabilities[.xcrs] != nil
        (self.runAreaBytes, self.cpuid, self.filter) = (runAreaBytes, cpuid, filter)
        (self.ringPage, self.countsEmulation, self.unfilteredMSRs) = (ringPage, countsEmulation, unfilteredMSRs)
        (self.translations, self.exchangesGS) = (translations, exchangesGS)
    }
}

/// What the worker knows of a vCPU without asking the kernel. Belongs to the vCPU's thread.
final class VCPUNotes {
    /// What the model-specific registers hold; nil when the guest may have written them since.
    var modelSpecific: MSRValues?
    /// Whether single-stepping is on.
    var isStepped = false
    /// Whether it has been on since ``VirtualCPU/forgetStepping()``.
    var wasStepped = false
    /// How many page faults there had been when the machine last had no translations of addresses; nil where that is unknown.
    var pageFaults: UInt64? = 0
    /// Whether an exit came after which the processor need not be one that runs.
    var mayBeStopped = false

    init(modelSpecific: MSRValues?) { self.modelSpecific = modelSpecific }
}
