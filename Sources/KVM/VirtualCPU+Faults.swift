// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// An exception that KVM raised in the guest.
public struct RaisedException: Sendable, Hashable {
    /// Its number.
    public var vector: UInt8
    /// Its error code, where the vCPU's mode and the vector have one.
    public var errorCode: UInt32?
}

extension VirtualCPU {
    /// The exception that KVM raised last, or nil if it has raised none since ``watchExceptions()`` returned true.
    ///
    /// On VT-x and SVM the processor raises most exceptions by itself, and KVM does not hear of them.
    ///
    /// `KVM_GET_VCPU_EVENTS`, or the run area where the kernel keeps it there.
    public borrowing func raisedException() throws(KVMError) -> RaisedException? {
        let exception = try events().exception
        guard exception.nr != Self.noVector else { return nil }
        return RaisedException(
            vector: exception.nr, errorCode: exception.has_error_code != 0 ? exception.error_code : nil)
    }

    /// x87 and SSE state as FXSAVE stores it in 64-bit mode, in 512 bytes. The last 48 of these, which FXSAVE leaves alone, are
    /// zero.
    ///
    /// `KVM_GET_XSAVE`: it tells the registers that the guest has not touched, too, which `KVM_GET_FPU` need not.
    public borrowing func floatingPointState() throws(KVMError) -> [UInt8] {
        let state = try ExtendedState(of: descriptor.number, count: traits.extendedBytes)
        let padding = [UInt8](repeating: 0, count: 512 - ExtendedState.legacyBytes)
        return state.bytes.prefix(ExtendedState.legacyBytes) + padding
    }
}
