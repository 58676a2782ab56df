// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CBareLoop
internal import JobModel

// A layout's registers as the kernel has them. The target KVM has the same for itself: what is measured against does not
// share code with what is measured.

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

extension kvm_sregs {
    init(_ system: SystemRegisters) {
        self.init()
        (cs, ds, es, fs) = (.init(system.cs), .init(system.ds), .init(system.es), .init(system.fs))
        (gs, ss, tr, ldt) = (.init(system.gs), .init(system.ss), .init(system.tr), .init(system.ldt))
        (gdt.base, gdt.limit) = (system.gdt.base, system.gdt.limit)
        (idt.base, idt.limit) = (system.idt.base, system.idt.limit)
        (cr0, cr2, cr3, cr4, cr8) = (system.cr0, system.cr2, system.cr3, system.cr4, system.cr8)
        efer = system.efer
    }
}

extension kvm_segment {
    fileprivate init(_ segment: Segment) {
        self.init()
        let attributes = segment.attributes
        (base, limit, selector) = (segment.base, segment.limit, segment.selector)
        (type, s, dpl) = (attributes.type, attributes.s ? 1 : 0, attributes.dpl)
        (present, avl, l) = (attributes.present ? 1 : 0, attributes.avl ? 1 : 0, attributes.l ? 1 : 0)
        (db, g, unusable) = (attributes.db ? 1 : 0, attributes.g ? 1 : 0, attributes.isUnusable ? 1 : 0)
    }
}
