// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
internal import JobModel

/// HLT on a machine with ``PCHardware``: the kernel keeps the processor until an interrupt comes, and tells nobody.
extension VirtualCPU {
    /// Whether the processor waits behind HLT for what cannot come any more: interrupts are off (RFLAGS.IF is 0), no NMI or SMI is on its
    /// way, and neither the local APIC nor the I/O APIC is set up to make one, or an INIT, of an interrupt line.
    ///
    /// Ask it where a run was interrupted. One that waits with interrupts on may be woken by the timer, and is not halted.
    ///
    /// `KVM_GET_MP_STATE`; where it tells of HLT and interrupts are off, `KVM_GET_VCPU_EVENTS`, `KVM_GET_LAPIC` and `KVM_GET_IRQCHIP`.
    public borrowing func isHalted(in machine: borrowing VirtualMachine) throws(KVMError) -> Bool {
        guard !hasPendingAccess, try registers().rflags & Self.interruptFlag == 0 else { return false }
        guard try activity() == UInt32(KVM_MP_STATE_HALTED), try !hasPendingEvent() else { return false }
        guard try !localControllerWakes() else { return false }
        return try !machine.controllerWakes()
    }

    /// Whether the processor waits for another one to start it: by a SIPI, or an INIT before that.
    ///
    /// `KVM_GET_MP_STATE`, which takes an INIT or a SIPI that is on its way into account.
    public borrowing func awaitsStart() throws(KVMError) -> Bool {
        let state = try activity()
        return state == UInt32(KVM_MP_STATE_UNINITIALIZED) || state == UInt32(KVM_MP_STATE_INIT_RECEIVED)
    }

    private borrowing func activity() throws(KVMError) -> UInt32 {
        var state = kvm_mp_state()
        // SAFETY: the kernel writes one kvm_mp_state.
        _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_GET_MP_STATE, &state), .getMPState)
        return state.mp_state
    }

    /// Has the processor wait as behind HLT: the next run lasts until an interrupt comes.
    ///
    /// `KVM_SET_MP_STATE`
    public borrowing func waitForInterrupt() throws(KVMError) {
        var state = kvm_mp_state(mp_state: UInt32(KVM_MP_STATE_HALTED))
        // SAFETY: the kernel reads one kvm_mp_state.
        _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_SET_MP_STATE, &state), .setMPState)
        notes.mayBeStopped = true
    }

    private static var interruptFlag: UInt64 { 1 << 9 }

    private borrowing func hasPendingEvent() throws(KVMError) -> Bool {
        var events = kvm_vcpu_events()
        // SAFETY: the kernel writes one kvm_vcpu_events.
        _ = try KVMError.check(
            unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_GET_VCPU_EVENTS, &events), .getVCPUEvents)
        return events.nmi.pending != 0 || events.nmi.injected != 0 || events.smi.pending != 0
            || events.exception.pending != 0 || events.exception.injected != 0
    }

    /// Whether its entry for input 0, to which the timer leads, makes more of it than an interrupt.
    private borrowing func localControllerWakes() throws(KVMError) -> Bool {
        var state = kvm_lapic_state()
        // SAFETY: the kernel writes one kvm_lapic_state.
        _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_GET_LAPIC, &state), .getLAPIC)
        let entry = unsafe withUnsafeBytes(of: state) {
            // SAFETY: the registers take 1 KiB.
            unsafe $0.loadUnaligned(fromByteOffset: Self.inputEntry, as: UInt32.self)
        }
        return InterruptEntry(UInt64(entry)).wakes
    }

    /// The register of local vector table entry 0.
    private static var inputEntry: Int { 0x350 }
}

extension VirtualMachine {
    /// Whether an entry of the I/O APIC makes more of an input than an interrupt.
    fileprivate borrowing func controllerWakes() throws(KVMError) -> Bool {
        var chip = kvm_irqchip()
        chip.chip_id = UInt32(KVM_IRQCHIP_IOAPIC)
        // SAFETY: the kernel writes one kvm_irqchip.
        _ = try KVMError.check(unsafe ckvm_ioctl(descriptor.number, CKVM_GET_IRQCHIP, &chip), .getIRQChip)
        return unsafe withUnsafeBytes(of: chip) { raw in
            (0..<Self.controllerInputs).contains { input in
                // SAFETY: chip's state is a union of 512 bytes, and the table is the end of its largest member.
                let offset = Self.entriesOffset + input * 8
                return InterruptEntry(unsafe raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self)).wakes
            }
        }
    }

    /// Inputs of the I/O APIC.
    private static var controllerInputs: Int { Int(KVM_IOAPIC_NUM_PINS) }
    /// Where its entries begin in a `kvm_irqchip`: behind the chip's number, and behind base address, selector, id and requests.
    private static var entriesOffset: Int { 8 + 24 }
}

/// An entry of an APIC's table: what becomes of an input. Bits 8-10 are its delivery mode, bit 16 masks it.
private struct InterruptEntry {
    private let bits: UInt64

    init(_ bits: UInt64) { self.bits = bits }

    /// Whether the input can wake a processor whose interrupts are off: as an SMI, an NMI or an INIT.
    var wakes: Bool { bits & 1 << 16 == 0 && [2, 4, 5].contains(bits >> 8 & 7) }
}
