// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a KVM can do beyond the basics, by its `KVM_CAP_` number. `kvmjob doctor` lists them.
public enum Capability: UInt32, Sendable, Hashable, CaseIterable {
    // Numbers rather than the header's names: the header on the build machine may be older than the running kernel.
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case userMemory = 3, setGuestDebug = 23, coalescedMMIO = 15, vcpuEvents = 41, debugRegisters = 50, xsave = 55
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case xcrs = 56, syncRegisters = 74, readOnlyMemory = 81, immediateExit = 136, coalescedPIO = 162
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case interruptControllers = 0, setTSSAddress = 4, activityState = 14, intervalTimer = 33, setIdentityMapAddress = 37
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case manualDirtyLog = 168
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    case userSpaceMSR = 188, msrFilter = 189, binaryStatistics = 203, largeXSAVE = 208, tripleFaultEvent = 218

    /// The kernel's name.
    public var name: String {
        switch self {
        case .userMemory: "KVM_CAP_USER_MEMORY"
        case .setGuestDebug: "KVM_CAP_SET_GUEST_DEBUG"
        case .coalescedMMIO: "KVM_CAP_COALESCED_MMIO"
        case .vcpuEvents: "KVM_CAP_VCPU_EVENTS"
        case .debugRegisters: "KVM_CAP_DEBUGREGS"
        case .xsave: "KVM_CAP_XSAVE"
        case .xcrs: "KVM_CAP_XCRS"
        case .syncRegisters: "KVM_CAP_SYNC_REGS"
        case .readOnlyMemory: "KVM_CAP_READONLY_MEM"
        case .immediateExit: "KVM_CAP_IMMEDIATE_EXIT"
        case .coalescedPIO: "KVM_CAP_COALESCED_PIO"
        case .manualDirtyLog: "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2"
        case .userSpaceMSR: "KVM_CAP_X86_USER_SPACE_MSR"
        case .msrFilter: "KVM_CAP_X86_MSR_FILTER"
        case .binaryStatistics: "KVM_CAP_BINARY_STATS_FD"
        case .largeXSAVE: "KVM_CAP_XSAVE2"
        case .tripleFaultEvent: "KVM_CAP_X86_TRIPLE_FAULT_EVENT"
        case .interruptControllers: "KVM_CAP_IRQCHIP"
        case .setTSSAddress: "KVM_CAP_SET_TSS_ADDR"
        case .activityState: "KVM_CAP_MP_STATE"
        case .intervalTimer: "KVM_CAP_PIT2"
        case .setIdentityMapAddress: "KVM_CAP_SET_IDENTITY_MAP_ADDR"
        }
    }

    /// What kvmjob uses it for, for people.
    public var purpose: String {
        switch self {
        case .userMemory: "guest memory (required)"
        case .immediateExit: "stopping a guest without a race (required)"
        case .setGuestDebug: "step budgets by single-stepping"
        case .syncRegisters: "registers without a call each"
        case .binaryStatistics: "telling a software backend's instruction count"
        case .vcpuEvents, .debugRegisters, .xsave, .largeXSAVE, .xcrs: "resetting a machine between jobs"
        case .manualDirtyLog: "bringing back only the memory that jobs write"
        case .userSpaceMSR, .msrFilter: "keeping model-specific registers from guests"
        case .tripleFaultEvent: "forgetting a fault that a kick came upon"
        case .readOnlyMemory: "ROM"
        case .interruptControllers, .intervalTimer, .activityState: "the board of a PC"
        case .setTSSAddress, .setIdentityMapAddress: "real mode on older processors of Intel's, on the board of a PC"
        case .coalescedMMIO, .coalescedPIO: "console output without an exit per byte"
        }
    }
}
