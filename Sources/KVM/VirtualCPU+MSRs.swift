// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
internal import JobModel

extension VirtualCPU {
    /// Does what the guest asks of a model-specific register with ``VMExit/msrRead(number:)``, if its filter has the worker serve
    /// that one; otherwise RDMSR is a #GP.
    ///
    /// `KVM_GET_MSRS`.
    public borrowing func serveMSRRead(_ number: UInt32) throws(KVMError) {
        var values = MSRValues()
        if isServed(number) { values = try MSRValues.reading([number], from: descriptor.number) }
        // SAFETY: see `runData`.
        unsafe runData.pointee.msr.data = values[number] ?? 0
        unsafe runData.pointee.msr.error = values[number] == nil ? 1 : 0
    }

    /// Answers ``VMExit/msrRead(number:)`` with a value of the worker's own; nil is a #GP.
    public borrowing func answerMSRRead(_ value: UInt64?) {
        // SAFETY: see `runData`.
        unsafe runData.pointee.msr.data = value ?? 0
        unsafe runData.pointee.msr.error = value == nil ? 1 : 0
    }

    /// Likewise ``VMExit/msrWrite(number:value:)``.
    public borrowing func answerMSRWrite(isTaken: Bool) {
        // SAFETY: see `runData`.
        unsafe runData.pointee.msr.error = isTaken ? 0 : 1
    }

    /// The guest's time-stamp counter, by what KVM says of it; nil where it does not. Backends that show guests the host's say something
    /// else.
    ///
    /// `KVM_GET_MSRS`.
    public borrowing func timeStampCounter() throws(KVMError) -> UInt64? {
        try MSRValues.reading([MSRValues.timeStampCounter], from: descriptor.number)[MSRValues.timeStampCounter]
    }

    /// Likewise ``VMExit/msrWrite(number:value:)``; a value that the register cannot have is a #GP too.
    ///
    /// `KVM_SET_MSRS`.
    public borrowing func serveMSRWrite(_ number: UInt32, _ value: UInt64) throws(KVMError) {
        var isSet = false
        let isAllowed = try maySet(number, value)
        if isAllowed, isServed(number) {
            var values = MSRValues([number])
            values[number] = value
            // From here on nobody knows what the registers hold, until they are loaded again.
            notes.modelSpecific = nil
            isSet = try values.settable(on: descriptor.number) == 1
        }
        // SAFETY: see `runData`.
        unsafe runData.pointee.msr.error = isSet ? 0 : 1
    }

    /// What the kernel refuses a guest and grants the worker: no guest turns long mode on or off while it has paging on.
    private borrowing func maySet(_ number: UInt32, _ value: UInt64) throws(KVMError) -> Bool {
        guard number == MSRFilter.efer else { return true }
        let system = try systemRegisters()
        return system.cr0 & 1 << 31 == 0 || (system.efer ^ value) & Self.longModeEnable == 0
    }

    /// EFER.LME
    static var longModeEnable: UInt64 { 1 << 8 }

    private func isServed(_ number: UInt32) -> Bool { traits.filter?.serves(number) ?? false }
}
