// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// One virtual machine with its vCPU. Belongs to one thread at a time.
final class Machine {
    let kind: MachineKind
    let vm: VirtualMachine
    let vcpu: VirtualCPU
    /// The mode that its job started in.
    private(set) var mode = GuestMode.real16

    /// Makes an empty machine. ``prepare(_:)`` comes before every job, the first one too.
    init(_ kind: MachineKind, on hypervisor: borrowing Hypervisor) throws(KVMError) {
        let vm = try hypervisor.makeVirtualMachine(
            memoryBytes: kind.memoryBytes, logsWrites: kind.logsWrites, inSmallPages: kind.countsPages,
            filter: kind.isDeterministic ? .repeatable : nil)
        vcpu = try hypervisor.makeVirtualCPU(
            in: vm, features: kind.isDeterministic ? .baseline : .supported, countsEmulation: kind.countsEmulation)
        self.vm = vm
        self.kind = kind
    }

    /// Brings the machine to where a job starts.
    func prepare(_ start: StartingPoint) throws(KVMError) {
        start.memory.fill(vm.memory)
        mode = start.mode
        var system = start.system
        if kind.isDeterministic { try vcpu.setTimeStampCounter(0) }
        // Where the processor honours it, RDTSC is a fault at ring 3. Ring 0 cannot be kept from it.
        if kind.isDeterministic, mode == .user64 { system.cr4 |= ControlRegister.timeStampDisable }
        let extended = mode == .long64 || mode == .user64
        if extended, !start.fixesCR4 { system.cr4 |= vcpu.extendedStateControl }
        try vcpu.setSystemRegisters(system)
        if extended { try vcpu.enableExtendedState() }
        // Some software backends let SYSCALL through although EFER does not; it must end in a fault, not in low memory.
        if mode == .user64 { try vcpu.setSyscallEntry(SystemArea.start) }
        try vcpu.setRegisters(start.registers)
    }

    /// The frame of the exception in whose stub the vCPU of a `user64` program is.
    func exceptionFrame() throws(KVMError) -> ExceptionFrame {
        ExceptionFrame(registers: try vcpu.registers(), system: try vcpu.systemRegisters())
    }

    // MARK: Finding what the guest executes

    /// The guest physical address behind a linear one, or nil if no page is there.
    func physicalAddress(of linear: UInt64, at point: ExecutionPoint) throws(KVMError) -> UInt64? {
        guard point.cr0 & ControlRegister.paging != 0 else { return linear }
        // Four-level tables are walked here, since a call to the vCPU costs as much as a whole step on some backends.
        guard point.efer & ControlRegister.longModeActive != 0, point.cr4 & ControlRegister.fiveLevelPaging == 0 else {
            return try vcpu.translate(linear)
        }
        return PageTables.walk(linear, root: point.cr3, in: vm.memory)
    }

    /// The bytes of the next instruction, all ones where there is no memory.
    func instruction(at point: ExecutionPoint) throws(KVMError) -> InstructionBytes {
        let linear = point.linearAddress
        let inPage = linear & (GuestMemory.pageBytes - 1)
        guard let physical = try physicalAddress(of: linear, at: point) else { return .allOnes }
        if inPage <= GuestMemory.pageBytes - 16, let low = vm.memory.word(at: physical),
            let high = vm.memory.word(at: physical + 8)
        {
            return InstructionBytes(low: low, high: high)
        }
        return try slowInstruction(at: linear, physical: physical, point)
    }

    /// An instruction that may cross into another page, or into what is not memory.
    private func slowInstruction(
        at linear: UInt64, physical: UInt64, _ point: ExecutionPoint
    ) throws(KVMError) -> InstructionBytes {
        let inThisPage = GuestMemory.pageBytes - linear & (GuestMemory.pageBytes - 1)
        let nextPage = try physicalAddress(of: linear &+ inThisPage, at: point)
        var bytes = InstructionBytes.allOnes
        for index in 0..<UInt64(InstructionBytes.count) {
            let address = index < inThisPage ? physical &+ index : nextPage.map { $0 &+ (index - inThisPage) }
            bytes[Int(index)] = address.map { vm.memory.byte(at: $0) } ?? 0xFF
        }
        return bytes
    }
}

/// A walk of the processor's four-level page tables, as far as finding code needs it: presence and size, not rights.
enum PageTables {
    private static let present: UInt64 = 1
    private static let large: UInt64 = 0x80
    private static let address: UInt64 = 0x000F_FFFF_FFFF_F000

    static func walk(_ linear: UInt64, root: UInt64, in memory: borrowing GuestMemory) -> UInt64? {
        // An address whose upper bits are not all like bit 47 is none.
        guard Int64(bitPattern: linear << 16) >> 16 == Int64(bitPattern: linear) else { return nil }
        var table = root & address
        for shift in [UInt64(39), 30, 21, 12] {
            guard let entry = memory.word(at: table + (linear >> shift & 511) * 8), entry & present != 0 else {
                return nil
            }
            let isPage = shift == 12 || (shift <= 30 && entry & large != 0)
            if isPage {
                let offset = (UInt64(1) << shift) - 1
                return entry & address & ~offset | linear & offset
            }
            table = entry & address
        }
        return nil
    }
}
