// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// How a machine forgets which physical addresses its last guest's linear ones led to.
///
/// Guest memory is brought back from the host's side, page tables with it, and of that neither the processor's translation buffers
/// nor KVM's shadow of the guest's tables take notice: the next guest would go by the last one's tables wherever that one went.
public enum TranslationReset: Sendable, Hashable {
    /// Not at all: none of its guests can change page tables, and all find the same ones.
    case unneeded
    /// Through a state without paging, on the way to which KVM has the processor forget them: enough where the processor walks the
    /// guest's own tables.
    case registers
    /// By taking a piece of memory from the machine, at which KVM drops all that it has mapped: right everywhere, and it costs as
    /// much as a quarter of a new machine. Not done if KVM tells that the vCPU has had nothing mapped since the last time.
    case slot
}

extension VirtualMachine {
    /// A memory slot beside that of guest memory, at an address that every processor has and no guest memory reaches.
    private static var spareSlot: UInt32 { 1 }
    private static var spareAddress: UInt64 { 1 << 34 }

    /// With ``TranslationReset/slot`` makes KVM drop all translations, unless none has been made since the last time.
    ///
    /// No vCPU may be running, and none may be in the middle of an access.
    ///
    /// - Throws: ``KVMError/call(_:errno:)``: the machine cannot be used again.
    ///
    /// `KVM_SET_USER_MEMORY_REGION` twice, for a slot that is there in between only.
    public borrowing func forgetTranslations(of vcpu: borrowing VirtualCPU) throws(KVMError) {
        guard vcpu.mayHaveTranslations() else { return }
        var region = kvm_userspace_memory_region()
        (region.slot, region.guest_phys_addr) = (Self.spareSlot, Self.spareAddress)
        // SAFETY: no guest runs while the slot is there, so nobody sees the page by its second address.
        region.userspace_addr = unsafe UInt64(UInt(bitPattern: memory.base))
        for bytes in [GuestMemory.pageBytes, 0] {
            region.memory_size = bytes
            // SAFETY: the kernel reads one region.
            _ = try KVMError.check(
                unsafe ckvm_ioctl(descriptor.number, CKVM_SET_USER_MEMORY_REGION, &region), .setUserMemoryRegion)
        }
        vcpu.noteTranslations()
    }
}

extension VirtualCPU {
    /// Whether there is something for ``VirtualMachine/forgetTranslations(of:)`` to do. What is emulated leaves no translations,
    /// and all others begin with a page fault that KVM counts: the `pf_taken` statistic of `KVM_GET_STATS_FD`.
    public borrowing func mayHaveTranslations() -> Bool {
        guard traits.translations == .slot else { return false }
        guard let faults = faultCounter?.value() else { return true }
        return faults != notes.pageFaults
    }

    /// From here on only new page faults count.
    fileprivate borrowing func noteTranslations() { notes.pageFaults = faultCounter?.value() }

    /// With ``TranslationReset/registers``, if the guest had paging on: without it there are no translations by tables, and a
    /// guest that turns it off drops them itself. The state with paging that follows is a change of CR0 then, of which KVM takes
    /// notice even if nothing else changes.
    ///
    /// `KVM_SET_SREGS`.
    borrowing func leavePaging() throws(KVMError) {
        guard traits.translations == .registers, mayHavePaging else { return }
        var control = pristine.control
        // SAFETY: the kernel reads one kvm_sregs.
        _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_SET_SREGS, &control), .setSregs)
    }

    /// Registers that wait to be set say nothing of those that are.
    private var mayHavePaging: Bool {
        // SAFETY: see `runData`.
        guard synchronised != 0, unsafe runData.pointee.kvm_dirty_regs & UInt64(KVM_SYNC_X86_SREGS) == 0 else {
            return true
        }
        return unsafe runData.pointee.s.regs.sregs.cr0 & 1 << 31 != 0
    }
}
