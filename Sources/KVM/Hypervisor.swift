// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
internal import Glibc

/// An open `/dev/kvm` whose API version and capabilities have been checked.
///
/// May be used from any thread. Virtual machines outlive it.
public struct Hypervisor: ~Copyable, Sendable {
    /// The only API version there is: `KVM_GET_API_VERSION` has answered 12 since Linux 2.6.22.
    public static let apiVersion: Int32 = 12

    let descriptor: OwnedDescriptor
    /// Bytes of a vCPU's shared run area: `KVM_GET_VCPU_MMAP_SIZE`.
    let runAreaBytes: Int
    /// All that KVM can give a guest here.
    let cpuid: CPUIDTable
    /// The same on every machine.
    let baseline = CPUIDTable.baseline
    /// What `KVM_CHECK_EXTENSION` answered, for each capability that is there; the number's meaning is the capability's.
    public let capabilities: [Capability: Int32]

    /// Opens `/dev/kvm`.
    ///
    /// - Throws: ``KVMError/deviceMissing``, ``KVMError/notPermitted`` and ``KVMError/unsupportedVersion(_:)`` say why
    ///   this machine cannot run guests; their descriptions tell a person what to do.
    public init() throws(KVMError) { try self.init(without: []) }

    /// Opens it as if the kernel lacked these capabilities.
    init(without missing: Set<Capability>) throws(KVMError) {
        let descriptor = OwnedDescriptor(try Self.open())
        let answer = ckvm_ioctl_number(descriptor.number, CKVM_GET_API_VERSION, 0)
        guard answer != -ENOTTY else { throw .notKVM }
        let version = try KVMError.check(answer, .getAPIVersion)
        guard version == Self.apiVersion else { throw .unsupportedVersion(version) }
        let capabilities = Self.probe(descriptor.number).filter { !missing.contains($0.key) }
        for required in [Capability.userMemory, .immediateExit] where capabilities[required] == nil {
            throw .missingCapability(required)
        }
        let size = try KVMError.check(
            ckvm_ioctl_number(descriptor.number, CKVM_GET_VCPU_MMAP_SIZE, 0), .getVCPUMmapSize)
        guard Int(size) >= MemoryLayout<kvm_run>.size else { throw .unexpectedReply(.getVCPUMmapSize) }
        let cpuid = try CPUIDTable(supportedBy: descriptor.number)
        // While it can be opened: see OccupiedPages.
        _ = ckvm_pagemap()
        self.descriptor = descriptor
        self.runAreaBytes = Int(size)
        self.capabilities = capabilities
        self.cpuid = cpuid
    }

    /// Makes a virtual machine whose memory starts at guest physical address 0.
    ///
    /// Costs about a millisecond with its vCPU; takes host memory only as the guest touches it.
    ///
    /// - Parameters:
    ///   - memoryBytes: a multiple of ``GuestMemory/pageBytes``, not zero.
    ///   - policy: how ``VirtualMachine/restore(to:)`` will bring memory back; not a sticky log together with `logsWrites`.
    ///   - logsWrites: whether ``VirtualMachine/takeWrittenPages()`` will be asked; the guest's first write to each page then
    ///     costs more.
    ///   - inSmallPages: whether ``GuestMemory/residentBytes()`` will be asked; the guest's memory is slower to take then.
    ///   - filter: the model-specific registers that the guest may read and write; nil for all that KVM has, which is also what
    ///     it gets where the kernel has no filters.
    ///   - board: the interrupt controllers, the timer and the ROM of a PC; nil for none of them.
    ///   - coalescedPorts: the ports whose writes of one byte wait for ``VirtualCPU/takeCoalescedWrites(_:)``, if
    ///     ``coalescesPortWrites``. The end of such a machine makes its thread wait for many milliseconds.
    /// - Throws: ``KVMError/call(_:errno:)`` when the host is out of memory or of descriptors.
    ///
    /// `KVM_CREATE_VM`, `KVM_X86_SET_MSR_FILTER`, `KVM_ENABLE_CAP`, `KVM_REGISTER_COALESCED_MMIO`, `KVM_SET_USER_MEMORY_REGION`;
    /// what ``PCHardware`` says.
    public borrowing func makeVirtualMachine(
        memoryBytes: UInt64, restoring policy: RestorePolicy = .giveBack, logsWrites: Bool = false,
        inSmallPages: Bool = false, filter: MSRFilter? = nil, board: PCHardware? = nil, coalescedPorts: [UInt16] = []
    ) throws(KVMError) -> VirtualMachine {
        precondition(!(logsWrites && policy.isSticky), "a sticky log tells what was ever written, not what is new")
        // A signal to this thread cuts the call short, as an alarm is that an earlier job has left behind: see VCPUThread.
        var made = ckvm_ioctl_number(descriptor.number, CKVM_CREATE_VM, 0)
        while made == -EINTR { made = ckvm_ioctl_number(descriptor.number, CKVM_CREATE_VM, 0) }
        let vm = OwnedDescriptor(try KVMError.check(made, .createVM))
        let filter = capabilities[.msrFilter] == nil ? nil : fulfillable(filter)
        try filter?.install(in: vm.number)
        try board?.install(in: vm.number, capabilities)
        for port in coalescedPorts { _ = try KVMError.check(ckvm_coalesce_port(vm.number, port), .coalescePort) }
        let tellsTripleFaults = capabilities[.tripleFaultEvent] != nil
        if tellsTripleFaults {
            // So that a triple fault which has begun is part of the vCPU's events, and can be taken back.
            _ = try KVMError.check(
                ckvm_enable(vm.number, Capability.tripleFaultEvent.rawValue, 1), .enableCapability)
        }
        if policy.isSticky {
            _ = try KVMError.check(ckvm_enable(vm.number, Capability.manualDirtyLog.rawValue, 1), .enableCapability)
        }
        let logs = logsWrites || policy.needsLog
        // Of a larger page only a part could be given back, and KVM maps a memory that it logs in small pages anyway.
        let memory = try GuestMemory(bytes: memoryBytes, inSmallPages: inSmallPages || policy.needsLog)
        try memory.install(in: vm.number, logsWrites: logs)
        let history = MemoryHistory(policy, pages: memory.changed.pages, logs: logs)
        let rom = try board?.makeROM(in: vm.number)
        return VirtualMachine(
            descriptor: vm, filter: filter, tellsTripleFaults: tellsTripleFaults, memory: memory, history: history,
            rom: rom)
    }

    /// The worker cannot serve accesses of which it does not hear.
    private func fulfillable(_ filter: MSRFilter?) -> MSRFilter? {
        filter == .noted && capabilities[.userSpaceMSR] == nil ? .direct : filter
    }

    /// Makes a vCPU of a virtual machine.
    ///
    /// - Parameters:
    ///   - number: counts from 0; on the board of a PC all but 0 wait for an INIT and a SIPI to start them.
    ///   - count: how many the machine will have, as CPUID tells on the board of a PC.
    ///   - features: what CPUID tells the guest.
    ///   - countsEmulation: whether ``VirtualCPU/emulatedInstructions()`` will be asked; it takes a descriptor more.
    ///   - translations: how those are forgotten before the vCPU runs another guest. ``TranslationReset/slot`` takes a descriptor
    ///     more.
    ///   - exchangesGS: whether the guest may run SWAPGS, which writes KERNEL_GS_BASE past every filter: then putting back the
    ///     model-specific registers takes a call behind each guest that was in long mode.
    ///
    /// `KVM_CREATE_VCPU`, `KVM_SET_CPUID2`.
    public borrowing func makeVirtualCPU(
        in machine: borrowing VirtualMachine, number: UInt32 = 0, of count: UInt32 = 1,
        features: GuestFeatures = .supported,
        countsEmulation: Bool = true, translations: TranslationReset = .unneeded, exchangesGS: Bool = true
    ) throws(KVMError) -> VirtualCPU {
        let traits = VCPUTraits(
            runAreaBytes: runAreaBytes, cpuid: table(of: features, number, count), capabilities: capabilities,
            ringPage: ringPage, countsEmulation: countsEmulation && capabilities[.binaryStatistics] != nil,
            translations: translations, exchangesGS: exchangesGS, filter: machine.filter,
            unfilteredMSRs: machine.filter == nil ? try MSRValues.candidates(of: descriptor.number) : [])
        return try VirtualCPU(machine: machine.descriptor.number, number: number, traits)
    }

    private func table(of features: GuestFeatures, _ number: UInt32, _ count: UInt32) -> CPUIDTable {
        switch features {
        case .supported: cpuid
        case .baseline: baseline
        case .board: cpuid.forBoard(number: number, of: count)
        }
    }

    /// Whether a machine can have coalesced ports.
    ///
    /// `KVM_CAP_COALESCED_PIO`, and a ring by `KVM_CAP_COALESCED_MMIO` that lies in the run area.
    public var coalescesPortWrites: Bool { capabilities[.coalescedPIO] != nil && ringPage != nil }

    /// Which page of the run area is the ring of coalesced writes.
    private var ringPage: Int? {
        guard let page = capabilities[.coalescedMMIO].map(Int.init), page > 0 else { return nil }
        return page < runAreaBytes / Int(GuestMemory.pageBytes) ? page : nil
    }

    /// What a machine must have for ``GuestFeatures/baseline`` with ``MSRFilter/repeatable``, and this one lacks: the names of
    /// capabilities and of processor features.
    public var missingForBaseline: [String] {
        let filter = capabilities[.msrFilter] == nil ? [Capability.msrFilter.name] : []
        return filter + cpuid.missingBaselineFeatures
    }

    /// What CPUID answers a vCPU with ``GuestFeatures/baseline``, for sub-leaf 0: as far as this KVM keeps to it.
    public func baselineAnswer(leaf: UInt32) -> CPUIDAnswer { baseline.answer(leaf: leaf) }

    private static func open() throws(KVMError) -> Int32 {
        let result = ckvm_open()
        switch -result {
        case ENOENT, ENODEV, ENXIO: throw .deviceMissing
        case EACCES, EPERM: throw .notPermitted
        default: return try KVMError.check(result, .open)
        }
    }

    private static func probe(_ descriptor: Int32) -> [Capability: Int32] {
        var found: [Capability: Int32] = [:]
        for capability in Capability.allCases {
            let answer = ckvm_ioctl_number(descriptor, CKVM_CHECK_EXTENSION, UInt(capability.rawValue))
            if answer > 0 { found[capability] = answer }
        }
        return found
    }
}

/// A virtual machine: its descriptor and its memory.
public struct VirtualMachine: ~Copyable, Sendable {
    let descriptor: OwnedDescriptor
    /// What keeps model-specific registers from the guest; nil where nothing does.
    let filter: MSRFilter?
    /// Whether a triple fault that has begun is part of the vCPU's state. Where it is not, a vCPU whose run was interrupted may
    /// hold one that nothing takes back.
    public let tellsTripleFaults: Bool
    /// Guest physical memory from address 0 on.
    public let memory: GuestMemory
    let history: MemoryHistory
    /// The ROM of a PC.
    let rom: ReadOnlyMemory?
}
