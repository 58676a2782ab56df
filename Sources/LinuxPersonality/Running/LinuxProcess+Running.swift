// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
public import KVM

/// The process as the machine's run loop sees it: it is told of each exit, and says how to go on.
///
/// `moment` is what the guest's clocks say; it never goes back. Errors are the host's.
extension LinuxProcess {
    /// Serves the system call whose number and arguments are in the registers, which stand behind SYSCALL (RCX and R11 are
    /// whatever the processor has made of them).
    public mutating func serveCall(
        on processor: any GuestProcessor, at moment: Moment, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course {
        go(to: moment)
        (callStarted, hasTimedOut) = (moment.monotonic, false)
        counts.calls &+= 1
        threads.running.registers = processor.registers
        if let course = try serve(on: processor, memory) { return course }
        return try goOnWithNext(on: processor, memory)
    }

    /// Answers an exception of the running thread: a page comes in, or a signal does.
    public mutating func serveFault(
        _ fault: Fault, on processor: any GuestProcessor, at moment: Moment, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course {
        go(to: moment)
        var violation: MemoryViolation?
        if fault.vector == 14, let address = fault.address {
            switch space.resolveFault(at: address, for: MemoryAccess(pageFault: fault.errorCode ?? 0), memory) {
            case .mapped:
                if let failure = space.failure { throw failure }
                if !hasSignals { return .run }
                threads.running.registers = processor.registers
                return try resume(on: processor, memory)
            // What Linux does where it has no memory left.
            case .noMemory: return .over(.killed(signal: Signal.kill.number, fault: fault))
            case .violation(let found): violation = found
            }
        }
        threads.running.registers = processor.registers
        threads.running.trap = SignalFrame.Trap(fault)
        let isComputation = fault.vector == 16 || fault.vector == 19
        let state = isComputation ? ExtendedState(ofProcessor: try takeExtendedState(of: processor)) : nil
        return try resume(taking: SignalInfo(fault, violation, state), on: processor, memory)
    }

    /// Brings in the page that a fault asks for, if the program may have it. False for what is its own mistake.
    public mutating func resolve(_ fault: Fault, _ memory: borrowing GuestMemory) -> Bool {
        guard fault.vector == 14, let address = fault.address else { return false }
        return space.resolveFault(at: address, for: MemoryAccess(pageFault: fault.errorCode ?? 0), memory) == .mapped
    }

    /// Lets another thread run, if there is one: the time slice of the running one is over.
    public mutating func preempt(
        on processor: any GuestProcessor, at moment: Moment, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course {
        go(to: moment)
        guard wantsTimeSlices || hasSignals else { return .run }
        threads.running.registers = processor.registers
        return try goOnWithNext(on: processor, memory)
    }

    /// Goes on after ``Course/sleep(until:)``: a thread whose deadline has come, or for which something came, is served.
    public mutating func goOn(
        on processor: any GuestProcessor, at moment: Moment, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course {
        go(to: moment)
        return try goOnWithNext(on: processor, memory)
    }

    /// Whether the running thread is to be interrupted by ``preempt(on:at:_:)`` now and then, since others want to run.
    public var wantsTimeSlices: Bool { threads.isAnotherReady }

    /// When the running thread is to be interrupted at the latest, in nanoseconds of the monotonic clock: a timer ends, or another
    /// thread's sleep does.
    public var nextTimer: UInt64? {
        let next = min(threads.nextDeadline, timers.due)
        return next == .max ? nil : next
    }
}
