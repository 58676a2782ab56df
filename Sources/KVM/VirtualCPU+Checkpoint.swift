// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// A vCPU's state at one instant between two instructions: registers, segments, control registers, pending events and
/// x87, SSE and AVX state.
///
/// Model-specific and debug registers and XCR0 are not in it, as they are in a ``VCPUState``: whoever goes back to a checkpoint
/// knows that the guest has written none of them since. The time stamp counter runs on.
public struct VCPUCheckpoint: Sendable {
    fileprivate let general: kvm_regs
    fileprivate let control: kvm_sregs
    fileprivate let events: kvm_vcpu_events
    fileprivate let extended: ExtendedState
}

extension VirtualCPU {
    /// Takes a checkpoint. Settle a port or memory access first.
    ///
    /// Nil where registers and events do not come through the run area: each would take a call.
    ///
    /// `KVM_GET_XSAVE`.
    public borrowing func checkpoint() throws(KVMError) -> VCPUCheckpoint? {
        guard synchronised != 0 else { return nil }
        let extended = try ExtendedState(of: descriptor.number, count: traits.extendedBytes)
        // SAFETY: see `runData`.
        let state = unsafe runData.pointee.s.regs
        return VCPUCheckpoint(general: state.regs, control: state.sregs, events: state.events, extended: extended)
    }

    /// Goes back to a checkpoint of this vCPU. Settle a port or memory access first.
    ///
    /// `KVM_SET_XSAVE`; the rest goes through the run area with the next run.
    public borrowing func restore(_ checkpoint: VCPUCheckpoint) throws(KVMError) {
        try checkpoint.extended.set(on: descriptor.number)
        // SAFETY: see `runData`.
        unsafe runData.pointee.s.regs.regs = checkpoint.general
        unsafe runData.pointee.s.regs.sregs = checkpoint.control
        unsafe runData.pointee.s.regs.events = checkpoint.events
        unsafe runData.pointee.kvm_dirty_regs |= synchronised
    }
}
