// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
public import JobModel

/// All that a vCPU holds between two instructions, but for what runs by itself, such as the time-stamp counter: registers,
/// segments, control registers, pending events, x87, SSE, AVX and later state, XCR0, debug registers, and the model-specific
/// registers that guests may write.
///
/// Taken by ``VirtualCPU/capture()``, put back by ``VirtualCPU/load(_:omitting:)``; on the same vCPU or on another one of a
/// machine with the same ``MSRFilter`` and ``GuestFeatures``, on the same host. A copy costs no allocation.
public struct VCPUState: Sendable {
    var general: kvm_regs
    var control: kvm_sregs
    var events: kvm_vcpu_events
    var extended: ExtendedState
    var extendedControls: kvm_xcrs
    var debug: kvm_debugregs
    /// The model-specific registers that a guest of such a machine may write and that are no part of ``system``. Others that are
    /// added are set as well.
    public var modelSpecific: MSRValues

    /// The general registers, RIP and RFLAGS.
    public var registers: Registers {
        get { Registers(general) }
        set { general = kvm_regs(newValue) }
    }

    /// Segments, descriptor tables and control registers. The APIC base stays as KVM made it.
    public var system: SystemRegisters {
        get { SystemRegisters(control) }
        set { control.apply(newValue) }
    }

    /// XCR0: the state components that are turned on. Ignored where the machine has no XSAVE.
    public var extendedStateComponents: UInt64 {
        get { extendedControls.xcrs.0.value }
        set { extendedControls.xcrs.0.value = newValue }
    }
}

extension VCPUState {
    /// Takes back a debug exception that is on its way to the guest, and what it has left in DR6: it was the worker's own.
    public mutating func forgetDebugException() {
        events.exception = kvm_vcpu_events().exception
        debug.dr6 = Self.initialDR6
    }

    /// DR6 as the processor manuals give it after a reset.
    private static let initialDR6: UInt64 = 0xFFFF_0FF0

    /// Forgets the number of the last exception, which is kept for those who watch for the next one. One that is on its way stays.
    public mutating func forgetLastException() {
        guard events.exception.injected == 0, events.exception.pending == 0 else { return }
        events.exception = kvm_vcpu_events().exception
    }
}

/// x87, SSE, AVX and later state in the processor's own format: that of XSAVE, not compacted.
struct ExtendedState: Sendable, Hashable {
    /// Bytes in the order of XSAVE, as many as the kernel has.
    var bytes: [UInt8]

    /// Bytes at the beginning that FXSAVE stores too, in 64-bit mode.
    static let legacyBytes = 464

    /// - Parameter count: `sizeof(kvm_xsave)`, or more where a process has asked for larger states, as for AMX.
    ///
    /// `KVM_GET_XSAVE`, `KVM_GET_XSAVE2`.
    init(of vcpu: Int32, count: Int) throws(KVMError) {
        bytes = [UInt8](repeating: 0, count: count)
        let request = count > MemoryLayout<kvm_xsave>.size ? CKVM_GET_XSAVE2 : CKVM_GET_XSAVE
        let result = unsafe bytes.withUnsafeMutableBytes { raw -> Int32 in
            // SAFETY: the kernel writes as many bytes as it has answered for KVM_CAP_XSAVE2, or one kvm_xsave.
            guard let base = raw.baseAddress else { return 0 }
            return unsafe ckvm_vcpu_ioctl(vcpu, request, base)
        }
        _ = try KVMError.check(result, .getXSAVE)
    }

    /// `KVM_SET_XSAVE`
    func set(on vcpu: Int32) throws(KVMError) {
        let result = unsafe bytes.withUnsafeBytes { raw -> Int32 in
            // SAFETY: the kernel only reads, as many bytes as it wrote.
            guard let base = raw.baseAddress else { return 0 }
            return unsafe ckvm_vcpu_ioctl(vcpu, CKVM_SET_XSAVE, UnsafeMutableRawPointer(mutating: base))
        }
        _ = try KVMError.check(result, .setXSAVE)
    }
}
