// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// Finds out what a deterministic guest can see all the same, by looking: one machine for each mode, about a millisecond each.
///
/// Nothing that a program in user space can ask KVM tells it. A software backend runs ring 3 natively, where neither CPUID nor
/// RDTSC can be kept from it, and adds the processor's features to the table in the modes that it emulates; SVM cannot refuse RDRAND.
enum DeterminismProbe {
    /// Long enough for a few instructions on any machine, short enough not to hang a start.
    private static let patience = Duration.seconds(2)

    /// The leaves that are compared: those of the table, and those by which processors and hypervisors tell more.
    static let leaves: [UInt32] = [
        0, 1, 2, 4, 6, 7, 0xA, 0xB, 0xD, 0x15, 0x16, 0x1F, 0x4000_0000, 0x4000_0001, 0x8000_0000, 0x8000_0001,
        0x8000_0002,
        0x8000_0003, 0x8000_0004, 0x8000_0005, 0x8000_0006, 0x8000_0007, 0x8000_0008, 0x8000_001D, 0x8000_001E,
    ]

    /// The same bytes in 16, 32 and 64 bits: each instruction, then `out 0x80, al` to tell that it ran.
    private static let image: [UInt8] = cpuid + rdtsc + rdrand
    private static let cpuid: [UInt8] = [0x0F, 0xA2, 0xE6, 0x80]
    private static let rdtsc: [UInt8] = [0x0F, 0x31, 0xE6, 0x80]
    private static let rdrand: [UInt8] = [0x0F, 0xC7, 0xF0, 0xE6, 0x80]
    private static let reportPort: UInt16 = 0x80

    static func run(
        _ hypervisor: borrowing Hypervisor, modes: Set<GuestMode>, _ thread: VCPUThread
    ) throws(KVMError) -> DeterminismProfile {
        var profile = DeterminismProfile()
        let missing = hypervisor.missingForBaseline
        guard missing.isEmpty else {
            profile.obstacle = "it lacks \(missing.joined(separator: ", "))"
            return profile
        }
        for mode in modes { profile.modes[mode] = try look(mode, hypervisor, thread) }
        return profile
    }

    private static func look(
        _ mode: GuestMode, _ hypervisor: borrowing Hypervisor, _ thread: VCPUThread
    ) throws(KVMError) -> ModeDeterminism {
        var found = ModeDeterminism()
        var machine = try machine(mode, hypervisor)
        for leaf in leaves {
            let answer = try execute(at: 0, rax: UInt64(leaf), machine, thread).map(CPUIDAnswer.init)
            if answer != hypervisor.baselineAnswer(leaf: leaf) { found.unfixedLeaves.append(leaf) }
        }
        found.readsClock = try execute(at: cpuid.count, machine, thread) != nil
        // An exception leaves the vCPU somewhere else.
        if !found.readsClock { machine = try self.machine(mode, hypervisor) }
        found.readsRandom = try execute(at: cpuid.count + rdtsc.count, machine, thread) != nil
        return found
    }

    /// Runs one instruction. Returns the registers behind it, or nil if it did not run.
    private static func execute(
        at offset: Int, rax: UInt64 = 0, _ machine: Machine, _ thread: VCPUThread
    ) throws(KVMError) -> Registers? {
        var registers = Registers()
        (registers.rip, registers.rax) = (loadAddress(machine.mode) + UInt64(offset), rax)
        try machine.current.vcpu.setRegisters(registers)
        machine.current.vcpu.attach()
        defer { machine.current.vcpu.detach() }
        try thread.setAlarm(at: MonotonicClock.now + patience.wholeNanoseconds)
        defer { try? thread.setAlarm(at: nil) }
        guard case .portOut(let access) = try machine.current.vcpu.run(), access.port == reportPort else { return nil }
        registers = try machine.current.vcpu.registers()
        _ = try machine.current.vcpu.settle()
        return registers
    }

    private static func loadAddress(_ mode: GuestMode) -> UInt64 {
        mode == .real16 ? GuestLayout.realModeLoadAddress : GuestLayout.flatLoadAddress
    }

    private static func machine(_ mode: GuestMode, _ hypervisor: borrowing Hypervisor) throws(KVMError) -> Machine {
        let spec = JobSpec(mode: mode, loadAddress: loadAddress(mode), memoryBytes: 2 << 20)
        let layout = Result<GuestLayout, Refusal> { () throws(Refusal) in try GuestLayout(flat: image, spec: spec) }
        switch layout {
        case .success(let layout):
            let machine = try Machine(
                MachineKind(memoryBytes: layout.memoryBytes, isDeterministic: true), on: hypervisor)
            try machine.prepare(StartingPoint(layout))
            return machine
        case .failure(let refusal): preconditionFailure("a probe's image was refused: \(refusal.message)")
        }
    }
}

extension CPUIDAnswer {
    fileprivate init(_ registers: Registers) {
        self.init(
            eax: UInt32(truncatingIfNeeded: registers.rax), ebx: UInt32(truncatingIfNeeded: registers.rbx),
            ecx: UInt32(truncatingIfNeeded: registers.rcx), edx: UInt32(truncatingIfNeeded: registers.rdx))
    }
}
