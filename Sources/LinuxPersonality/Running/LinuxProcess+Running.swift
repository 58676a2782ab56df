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
        (self.moment, callStarted) = (moment, moment.monotonic)
        counts.calls &+= 1
        return try serve(on: processor, memory)
    }

    /// Answers an exception of the running thread: a page comes in, or a signal does.
    public mutating func serveFault(
        _ fault: Fault, on processor: any GuestProcessor, at moment: Moment, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course {
        self.moment = moment
        if fault.vector == 14, let address = fault.address {
            switch space.resolveFault(at: address, for: MemoryAccess(pageFault: fault.errorCode ?? 0), memory) {
            case .mapped: return .run
            case .violation, .noMemory: break
            }
        }
        return .over(.killed(signal: 11, fault: fault))
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
        self.moment = moment
        return .run
    }

    /// Goes on after ``Course/sleep(until:)``: a thread whose deadline has come, or for which something came, is served.
    public mutating func goOn(
        on processor: any GuestProcessor, at moment: Moment, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course {
        self.moment = moment
        hasTimedOut = sleepEnd.map { moment.monotonic >= $0 } ?? false
        return try serve(on: processor, memory)
    }

    /// Whether the running thread is to be interrupted by ``preempt(on:at:_:)`` now and then, since others want to run.
    public var wantsTimeSlices: Bool { false }

    /// When the running thread is to be interrupted at the latest, in nanoseconds of the monotonic clock: a timer of its own ends.
    public var nextTimer: UInt64? { nil }

    // MARK: One call

    private mutating func serve(
        on processor: any GuestProcessor, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course {
        var registers = processor.registers
        let arguments = CallArguments(registers)
        do throws(Errno) {
            guard let call = SystemCall(rawValue: registers.rax) else {
                noteUnknown(registers.rax)
                throw .enosys
            }
            // TEMPORARY
            switch call {
            case .exit, .exitGroup: return .over(.exited(status: UInt8(truncatingIfNeeded: registers.rdi)))
            case .archPrctl:
                if registers.rdi == 0x1002 { processor.fsBase = registers.rsi }
                registers.rax = 0
                processor.registers = registers
                return .run
            case .setTidAddress: registers.rax = 1; processor.registers = registers; return .run
            default: break
            }
            switch try perform(call, arguments, memory) {
            case .value(let value): registers.rax = value
            case .resumed: return .run
            case .wait(let wait):
                sleepEnd = wait.deadline
                return .sleep(until: wait.deadline)
            case .over(let end): return .over(end)
            }
        } catch {
            registers.rax = error.returnValue
        }
        processor.registers = registers
        if let failure = space.failure { throw failure }
        return .run
    }
}
