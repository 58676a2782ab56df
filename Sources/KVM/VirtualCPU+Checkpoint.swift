// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// A vCPU's state at one instant between two instructions: registers, segments, control registers, pending events and
/// x87, SSE and AVX state.
///
/// Model-specific and debug registers and XCR0 are not in it: whoever goes back to a checkpoint knows that the guest has written
/// none of them since. The time stamp counter runs on.
public struct VCPUCheckpoint: Sendable {
    fileprivate let registers: kvm_regs
    fileprivate let system: kvm_sregs
    fileprivate let events: kvm_vcpu_events
    fileprivate let extended: [UInt8]
}

extension VirtualCPU {
    /// Bytes of `kvm_xsave`. Larger states exist only where a process has asked for them, as for AMX.
    private static var extendedBytes: Int { MemoryLayout<kvm_xsave>.size }

    /// Takes a checkpoint. Settle a port or memory access first.
    ///
    /// Nil where registers and events do not come through the run area: each would take a call.
    ///
    /// `KVM_GET_XSAVE`.
    public borrowing func checkpoint() throws(KVMError) -> VCPUCheckpoint? {
        guard synchronised != 0 else { return nil }
        var extended = [UInt8](repeating: 0, count: Self.extendedBytes)
        let result = unsafe extended.withUnsafeMutableBytes { raw -> Int32 in
            guard let first = raw.baseAddress else { return 0 }
            // SAFETY: the kernel writes one kvm_xsave.
            return unsafe ckvm_ioctl(descriptor.number, CKVM_GET_XSAVE, first)
        }
        _ = try KVMError.check(result, .getXSAVE)
        // SAFETY: see `runData`.
        let state = unsafe runData.pointee.s.regs
        return VCPUCheckpoint(registers: state.regs, system: state.sregs, events: state.events, extended: extended)
    }

    /// Goes back to a checkpoint of this vCPU. Settle a port or memory access first.
    ///
    /// `KVM_SET_XSAVE`; the rest goes through the run area with the next run.
    public borrowing func restore(_ checkpoint: VCPUCheckpoint) throws(KVMError) {
        var extended = checkpoint.extended
        let result = unsafe extended.withUnsafeMutableBytes { raw -> Int32 in
            guard let first = raw.baseAddress else { return 0 }
            // SAFETY: the kernel reads one kvm_xsave.
            return unsafe ckvm_ioctl(descriptor.number, CKVM_SET_XSAVE, first)
        }
        _ = try KVMError.check(result, .setXSAVE)
        // SAFETY: see `runData`.
        unsafe runData.pointee.s.regs.regs = checkpoint.registers
        unsafe runData.pointee.s.regs.sregs = checkpoint.system
        unsafe runData.pointee.s.regs.events = checkpoint.events
        unsafe runData.pointee.kvm_dirty_regs |= synchronised
    }
}
