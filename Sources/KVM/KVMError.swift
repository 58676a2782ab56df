// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc

/// A KVM call that failed, or a KVM that kvmjob cannot use.
public enum KVMError: Error, Sendable, Hashable {
    /// There is no `/dev/kvm`.
    case deviceMissing
    /// `/dev/kvm` is there, and this user may not open it.
    case notPermitted
    /// `/dev/kvm` is there and is no KVM device.
    case notKVM
    /// `KVM_GET_API_VERSION` answered something other than ``Hypervisor/apiVersion``.
    case unsupportedVersion(Int32)
    /// The kernel lacks a capability without which no guest can be stopped.
    case missingCapability(Capability)
    /// A call failed with this errno.
    case call(Call, errno: Int32)
    /// The kernel's answer makes no sense.
    case unexpectedReply(Call)

    /// A call to the kernel, by the name that its documentation uses.
    public enum Call: String, Sendable, Hashable {
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case open = "open(/dev/kvm)"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case getAPIVersion = "KVM_GET_API_VERSION", createVM = "KVM_CREATE_VM"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case getVCPUMmapSize = "KVM_GET_VCPU_MMAP_SIZE", getSupportedCPUID = "KVM_GET_SUPPORTED_CPUID"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case setUserMemoryRegion = "KVM_SET_USER_MEMORY_REGION", createVCPU = "KVM_CREATE_VCPU"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case setMSRs = "KVM_SET_MSRS", setCPUID2 = "KVM_SET_CPUID2", run = "KVM_RUN", setXCRS = "KVM_SET_XCRS"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case getRegs = "KVM_GET_REGS", setRegs = "KVM_SET_REGS"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case getSregs = "KVM_GET_SREGS", setSregs = "KVM_SET_SREGS"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case getVCPUEvents = "KVM_GET_VCPU_EVENTS", setGuestDebug = "KVM_SET_GUEST_DEBUG"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case setMSRFilter = "KVM_X86_SET_MSR_FILTER"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case translate = "KVM_TRANSLATE", getStatsFD = "KVM_GET_STATS_FD"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case getDirtyLog = "KVM_GET_DIRTY_LOG", enableCapability = "KVM_ENABLE_CAP", getXSAVE = "KVM_GET_XSAVE",
            setXSAVE = "KVM_SET_XSAVE", clearDirtyLog = "KVM_CLEAR_DIRTY_LOG"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case getXCRS = "KVM_GET_XCRS", getDebugRegs = "KVM_GET_DEBUGREGS", setDebugRegs = "KVM_SET_DEBUGREGS"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case getMSRs = "KVM_GET_MSRS", getMSRIndexList = "KVM_GET_MSR_INDEX_LIST"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case setVCPUEvents = "KVM_SET_VCPU_EVENTS", setMPState = "KVM_SET_MP_STATE"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case residentPages = "mincore", giveBack = "madvise", countInstructions = "perf_event_open", forget = "mprotect"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case createIRQChip = "KVM_CREATE_IRQCHIP", createPIT = "KVM_CREATE_PIT2", getIRQChip = "KVM_GET_IRQCHIP"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case setTSSAddress = "KVM_SET_TSS_ADDR", setIdentityMapAddress = "KVM_SET_IDENTITY_MAP_ADDR"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case getMPState = "KVM_GET_MP_STATE", getLAPIC = "KVM_GET_LAPIC"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case coalescePort = "KVM_REGISTER_COALESCED_MMIO", coalescedRing = "KVM's ring of coalesced writes"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case mapMemory = "mmap(guest memory)", mapRunArea = "mmap(kvm_run)"
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case prepareThread = "pthread_sigmask", makeTimer = "timer_create", armTimer = "timer_settime"
    }
}

extension KVMError: CustomStringConvertible {
    /// What went wrong and what to do about it, in one or two sentences.
    public var description: String {
        switch self {
        case .deviceMissing:
            "there is no /dev/kvm: load the module (modprobe kvm_intel, kvm_amd or kvm_pvm), turn on virtualisation in "
                + "the firmware, or, in a virtual machine or container, have the host pass KVM through"
        case .notPermitted:
            "no permission to open /dev/kvm: join the group that owns it (sudo usermod -aG kvm $USER, then log in again)"
        case .notKVM:
            "/dev/kvm is not KVM's device: it should be the character device 10, 232, as udev or mknod makes it"
        case .unsupportedVersion(let version):
            "KVM_GET_API_VERSION is \(version), and kvmjob speaks version \(Hypervisor.apiVersion) only"
        case .missingCapability(let capability):
            "this kernel's KVM lacks \(capability.name), without which a guest could not be stopped: use Linux 4.12 or later"
        case .call(.setSregs, errno: EINVAL):
            "KVM_SET_SREGS refused the segments, tables and control registers to start with: they contradict each other, or "
                + "this processor lacks what they turn on; the job cannot run on this machine"
        case .call(let call, let errno):
            // SAFETY: strerror's string is copied at once; two threads at it can garble each other's words, no more.
            unsafe "\(call.rawValue) failed: \(String(cString: strerror(errno))) (errno \(errno))"
        case .unexpectedReply(let call):
            "\(call.rawValue) gave an answer that makes no sense"
        }
    }
}

extension KVMError {
    /// The kernel's result as it is, or the error that it stands for.
    static func check(_ result: Int32, _ call: Call) throws(KVMError) -> Int32 {
        guard result >= 0 else { throw .call(call, errno: -result) }
        return result
    }
}
