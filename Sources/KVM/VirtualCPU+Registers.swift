// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
public import JobModel

extension VirtualCPU {
    /// The general registers, RIP and RFLAGS.
    ///
    /// `KVM_GET_REGS`, or the run area where the kernel keeps them there.
    public borrowing func registers() throws(KVMError) -> Registers {
        var regs = kvm_regs()
        if synchronised != 0 {
            regs = unsafe runData.pointee.s.regs.regs
        } else {
            // SAFETY: the kernel writes one kvm_regs.
            _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_GET_REGS, &regs), .getRegs)
        }
        return Registers(regs)
    }

    /// Sets the general registers, RIP and RFLAGS. Settle a port or memory access first.
    ///
    /// `KVM_SET_REGS`, or the run area, from which the next ``run()`` takes them.
    public borrowing func setRegisters(_ registers: Registers) throws(KVMError) {
        var regs = kvm_regs(registers)
        if synchronised != 0 {
            unsafe runData.pointee.s.regs.regs = regs
            unsafe runData.pointee.kvm_dirty_regs |= UInt64(KVM_SYNC_X86_REGS)
        } else {
            // SAFETY: the kernel reads one kvm_regs.
            _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_SET_REGS, &regs), .setRegs)
        }
    }

    /// Segments, descriptor tables and control registers.
    ///
    /// `KVM_GET_SREGS`, or the run area where the kernel keeps them there.
    public borrowing func systemRegisters() throws(KVMError) -> SystemRegisters {
        var sregs = kvm_sregs()
        if synchronised != 0 {
            sregs = unsafe runData.pointee.s.regs.sregs
        } else {
            // SAFETY: the kernel writes one kvm_sregs.
            _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_GET_SREGS, &sregs), .getSregs)
        }
        return SystemRegisters(sregs)
    }

    /// Where the vCPU is: what a step meter looks at after every instruction.
    public borrowing func executionPoint() throws(KVMError) -> ExecutionPoint {
        guard synchronised != 0 else { return ExecutionPoint(try registers(), try systemRegisters()) }
        let sregs = unsafe runData.pointee.s.regs.sregs
        return ExecutionPoint(
            rip: unsafe runData.pointee.s.regs.regs.rip, codeBase: sregs.cs.base,
            privilege: sregs.cr0 & 1 == 0 ? 0 : sregs.ss.dpl,
            is64Bit: sregs.cs.l != 0, isDefault32: sregs.cs.db != 0, cr0: sregs.cr0, cr3: sregs.cr3, cr4: sregs.cr4,
            efer: sregs.efer)
    }

    /// CR4 bits beyond SSE that guests in 64-bit modes should have: AVX state where KVM can save it, and FSGSBASE where it is
    /// there.
    public var extendedStateControl: UInt64 {
        (cpuid.hasXSAVE ? 1 << 18 : 0) | (cpuid.hasFSGSBASE ? 1 << 16 : 0)
    }

    /// XCR0 with x87, SSE and AVX state, as far as KVM supports XSAVE here; otherwise as KVM made it.
    ///
    /// Goes with ``extendedStateControl``.
    public var extendedStateComponents: UInt64 {
        cpuid.hasXSAVE ? cpuid.extendedStates & 7 | 1 : pristine.extendedStateComponents
    }

    private var cpuid: CPUIDTable { traits.cpuid }
}

/// The address of a vCPU's next instruction, and what it takes to find its bytes.
public struct ExecutionPoint: Sendable, Hashable {
    /// RIP.
    public var rip: UInt64
    /// The code segment's base.
    public var codeBase: UInt64
    /// The current privilege level, 0 to 3: of SS, since a conforming code segment does not tell it.
    public var privilege: UInt8
    /// Whether the code segment is a 64-bit one.
    public var is64Bit: Bool
    /// Whether the code segment, where it is not a 64-bit one, is a 32-bit one: its D bit.
    public var isDefault32: Bool
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public var cr0: UInt64, cr3: UInt64, cr4: UInt64, efer: UInt64

    /// The linear address of the next instruction: 64 bits wide in 64-bit code, else 32.
    public var linearAddress: UInt64 { is64Bit ? rip : (codeBase &+ rip) & 0xFFFF_FFFF }

    /// The size of the code segment: 16, 32 or 64.
    public var codeBits: UInt8 { is64Bit ? 64 : isDefault32 ? 32 : 16 }

    init(
        rip: UInt64, codeBase: UInt64, privilege: UInt8, is64Bit: Bool, isDefault32: Bool, cr0: UInt64, cr3: UInt64,
        cr4: UInt64, efer: UInt64
    ) {
        (self.rip, self.codeBase, self.privilege) = (rip, codeBase, privilege)
        (self.is64Bit, self.isDefault32) = (is64Bit, isDefault32)
        (self.cr0, self.cr3, self.cr4, self.efer) = (cr0, cr3, cr4, efer)
    }

    /// Where a vCPU with these registers is.
    public init(_ registers: Registers, _ system: SystemRegisters) {
        self.init(
            rip: registers.rip, codeBase: system.cs.base,
            privilege: system.cr0 & 1 == 0 ? 0 : system.ss.attributes.dpl,
            is64Bit: system.cs.attributes.l, isDefault32: system.cs.attributes.db, cr0: system.cr0, cr3: system.cr3,
            cr4: system.cr4, efer: system.efer)
    }
}

extension Registers {
    init(_ regs: kvm_regs) {
        self.init()
        (rax, rbx, rcx, rdx) = (regs.rax, regs.rbx, regs.rcx, regs.rdx)
        (rsi, rdi, rbp, rsp) = (regs.rsi, regs.rdi, regs.rbp, regs.rsp)
        (r8, r9, r10, r11) = (regs.r8, regs.r9, regs.r10, regs.r11)
        (r12, r13, r14, r15) = (regs.r12, regs.r13, regs.r14, regs.r15)
        (rip, rflags) = (regs.rip, regs.rflags)
    }
}

extension kvm_regs {
    init(_ registers: Registers) {
        self.init()
        (rax, rbx, rcx, rdx) = (registers.rax, registers.rbx, registers.rcx, registers.rdx)
        (rsi, rdi, rbp, rsp) = (registers.rsi, registers.rdi, registers.rbp, registers.rsp)
        (r8, r9, r10, r11) = (registers.r8, registers.r9, registers.r10, registers.r11)
        (r12, r13, r14, r15) = (registers.r12, registers.r13, registers.r14, registers.r15)
        (rip, rflags) = (registers.rip, registers.rflags)
    }
}

extension SystemRegisters {
    init(_ sregs: kvm_sregs) {
        self.init()
        (cs, ds, es, fs) = (Segment(sregs.cs), Segment(sregs.ds), Segment(sregs.es), Segment(sregs.fs))
        (gs, ss, tr, ldt) = (Segment(sregs.gs), Segment(sregs.ss), Segment(sregs.tr), Segment(sregs.ldt))
        gdt = DescriptorTable(base: sregs.gdt.base, limit: sregs.gdt.limit)
        idt = DescriptorTable(base: sregs.idt.base, limit: sregs.idt.limit)
        (cr0, cr2, cr3, cr4, cr8) = (sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4, sregs.cr8)
        (efer, apicBase) = (sregs.efer, sregs.apic_base)
    }
}

extension kvm_sregs {
    mutating func apply(_ system: SystemRegisters) {
        (cs, ds, es, fs) = (.init(system.cs), .init(system.ds), .init(system.es), .init(system.fs))
        (gs, ss, tr, ldt) = (.init(system.gs), .init(system.ss), .init(system.tr), .init(system.ldt))
        (gdt.base, gdt.limit) = (system.gdt.base, system.gdt.limit)
        (idt.base, idt.limit) = (system.idt.base, system.idt.limit)
        (cr0, cr2, cr3, cr4, cr8) = (system.cr0, system.cr2, system.cr3, system.cr4, system.cr8)
        efer = system.efer
    }
}

extension Segment {
    init(_ segment: kvm_segment) {
        let bits: [(UInt8, UInt16)] = [
            (segment.s, 4), (segment.dpl & 1, 5), (segment.dpl >> 1 & 1, 6), (segment.present, 7), (segment.avl, 8),
            (segment.l, 9), (segment.db, 10), (segment.g, 11), (segment.unusable, 12),
        ]
        let attributes = bits.reduce(UInt16(segment.type & 15)) { $1.0 != 0 ? $0 | 1 << $1.1 : $0 }
        self.init(
            base: segment.base, limit: segment.limit, selector: segment.selector,
            attributes: SegmentAttributes(rawValue: attributes))
    }
}

extension kvm_segment {
    init(_ segment: Segment) {
        self.init()
        let attributes = segment.attributes
        (base, limit, selector) = (segment.base, segment.limit, segment.selector)
        (type, s, dpl) = (attributes.type, attributes.s ? 1 : 0, attributes.dpl)
        (present, avl, l) = (attributes.present ? 1 : 0, attributes.avl ? 1 : 0, attributes.l ? 1 : 0)
        (db, g, unusable) = (attributes.db ? 1 : 0, attributes.g ? 1 : 0, attributes.isUnusable ? 1 : 0)
    }
}
