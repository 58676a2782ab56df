// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
public import JobModel

/// What a run loop needs that keeps several threads of a program on one vCPU.
extension VirtualCPU {
    /// The bases of FS and GS.
    ///
    /// `KVM_GET_SREGS`, or the run area where the kernel keeps them there.
    public borrowing func threadBases() throws(KVMError) -> (fs: UInt64, gs: UInt64) {
        guard synchronised != 0 else {
            let system = try systemRegisters()
            return (system.fs.base, system.gs.base)
        }
        // SAFETY: see `runData`.
        return unsafe (runData.pointee.s.regs.sregs.fs.base, runData.pointee.s.regs.sregs.gs.base)
    }

    /// Sets segments, descriptor tables and control registers. Settle a port or memory access first, unless it is the OUT of the
    /// program's own that ``setRegisters(_:)`` may be called after.
    ///
    /// `KVM_SET_SREGS`, or the run area, from which the next ``run()`` takes them.
    public borrowing func setSystemRegisters(_ registers: SystemRegisters) throws(KVMError) {
        if synchronised != 0 {
            unsafe runData.pointee.s.regs.sregs.apply(registers)
            unsafe runData.pointee.kvm_dirty_regs |= UInt64(KVM_SYNC_X86_SREGS)
        } else {
            var sregs = kvm_sregs()
            // SAFETY: the kernel writes one kvm_sregs, and reads one.
            _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_GET_SREGS, &sregs), .getSregs)
            sregs.apply(registers)
            _ = try KVMError.check(unsafe ckvm_vcpu_ioctl(descriptor.number, CKVM_SET_SREGS, &sregs), .setSregs)
        }
    }

    /// x87, SSE, AVX and later state, as XSAVE stores it in its standard format.
    ///
    /// `KVM_GET_XSAVE`.
    public borrowing func extendedState() throws(KVMError) -> [UInt8] {
        try ExtendedState(of: descriptor.number, count: traits.extendedBytes).bytes
    }

    /// Sets that state. Fewer bytes than there are leave the rest zero, more are not looked at.
    ///
    /// - Returns: false if the processor has no such state; nothing is changed then.
    ///
    /// `KVM_SET_XSAVE`.
    public borrowing func setExtendedState(_ bytes: [UInt8]) throws(KVMError) -> Bool {
        var state = pristine.extended
        let count = min(bytes.count, state.bytes.count)
        state.bytes.replaceSubrange(0..<count, with: bytes[..<count])
        for index in count..<state.bytes.count { state.bytes[index] = 0 }
        do throws(KVMError) {
            try state.set(on: descriptor.number)
            return true
        } catch .call(.setXSAVE, EINVAL) {
            return false
        }
    }

    /// x87, SSE, AVX and later state as a new vCPU has it.
    public var pristineExtendedState: [UInt8] { pristine.extended.bytes }
}
