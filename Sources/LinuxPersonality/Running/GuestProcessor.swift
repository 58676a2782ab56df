// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
public import KVM

/// The vCPU, as the thread of the program has it that runs on it.
///
/// Registers are those between two instructions of the program: behind SYSCALL while a call is served, at the instruction that
/// faulted while a fault is.
public protocol GuestProcessor: AnyObject {
    /// The general registers, RIP and RFLAGS. Costs no call to the vCPU.
    var registers: Registers { get set }
    /// FS.base, which points to the thread's own data. Costs no call to the vCPU.
    var fsBase: UInt64 { get set }
    /// GS.base. Costs no call to the vCPU.
    var gsBase: UInt64 { get set }

    /// x87, SSE, AVX and later state: the bytes of an XSAVE area in the standard format. `KVM_GET_XSAVE`.
    func extendedState() throws(KVMError) -> [UInt8]
    /// Puts such state in place; nil for that of a thread that begins. Any bytes may be given: what no processor could have is
    /// refused, as false. `KVM_SET_XSAVE`.
    func setExtendedState(_ bytes: [UInt8]?) throws(KVMError) -> Bool
}

/// What the machine is to do after an exit has been served.
public enum Course: Sendable, Hashable {
    /// Enter the guest, with what the processor holds now.
    case run
    /// No thread can run: sleep until this instant of the guest's monotonic clock, if there is one, or until something comes that
    /// the process waits for: ``LinuxProcess/goOn(on:at:_:)`` is next.
    case sleep(until: UInt64?)
    /// The process is over.
    case over(ProcessEnd)
}

/// How a process ended.
public enum ProcessEnd: Sendable, Hashable {
    /// By `exit_group`, or as its last thread called `exit`.
    case exited(status: UInt8)
    /// By a signal that nothing in it handles; with the exception that the signal came of, if it did.
    case killed(signal: UInt8, fault: Fault?)
}
