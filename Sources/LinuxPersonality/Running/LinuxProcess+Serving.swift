// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// Calls, and the threads that make them.
extension LinuxProcess {
    /// Lets time pass: what was to come by now comes.
    mutating func go(to moment: Moment) {
        self.moment = moment
        if moment.monotonic >= timers.due { fireTimers() }
        if moment.monotonic >= threads.nextDeadline { threads.elapse(to: moment.monotonic) }
    }

    /// Serves the call that the running thread's registers ask for.
    ///
    /// - Returns: nil if the thread does not go on, so that another one does.
    mutating func serve(
        on processor: any GuestProcessor, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course? {
        var forced: SignalInfo?
        switch performCall(memory) {
        case .value(let value): threads.running.registers.rax = value
        case .wait(let wait):
            guard wait.events.contains(.signal), isInterrupted() else {
                threads.park(WaitingCall(wait: wait, started: callStarted))
                return nil
            }
            guard let call = SystemCall(rawValue: threads.running.registers.rax) else { break }
            interrupt(call, wait, memory)
        case .onProcessor(let task): forced = try perform(task, on: processor, memory)
        case .yield:
            threads.running.registers.rax = 0
            return nil
        case .threadOver:
            return nil
        case .over(let end): return .over(end)
        }
        wakeForRaised()
        return try resume(taking: forced, on: processor, memory)
    }

    /// What comes of the running thread's call; errors are values.
    private mutating func performCall(_ memory: borrowing GuestMemory) -> CallEnd {
        let registers = threads.running.registers
        let call = SystemCall(rawValue: registers.rax)
        do throws(Errno) {
            guard let call else { throw .enosys }
            return try perform(call, CallArguments(registers), memory)
        } catch {
            if error == .enosys { note(unknown: registers.rax, call) }
            // Nobody reads what was written.
            if error == .epipe { try? send(SignalInfo(fromItself: .pipe), to: threads.current) }
            return .value(error.returnValue)
        }
    }

    private mutating func note(unknown number: UInt64, _ call: SystemCall?) {
        guard counts.unknown.count < ProgramReport.unknownCallLimit, number <= UInt64(UInt32.max) else { return }
        if let call, SystemCallTable.isExpectedToBeRefused(call) { return }
        counts.unknown.insert(UInt32(truncatingIfNeeded: number))
    }

    /// Wakes threads for what the call brought about.
    private mutating func wakeForRaised() {
        guard !files.raised.isEmpty else { return }
        let raised = files.takeRaised()
        if threads.count > 1 { threads.wake(for: raised) }
    }

    /// Does what a call asks of the vCPU, which holds the running thread's registers.
    ///
    /// - Returns: the signal that comes of it.
    private mutating func perform(
        _ task: ProcessorTask, on processor: any GuestProcessor, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> SignalInfo? {
        threads.running.registers.rax = task == .returnFromSignal ? threads.running.registers.rax : 0
        switch task {
        case .clone(let request): try makeThread(request, on: processor, memory)
        case .returnFromSignal: return try returnFromSignal(on: processor, memory)
        case .setBase(.fs, let base): processor.fsBase = base
        case .setBase(.gs, let base): processor.gsBase = base
        case .storeBase(let base, let address):
            do throws(Errno) {
                try space.writeWord(base == .fs ? processor.fsBase : processor.gsBase, at: address, memory)
            } catch { threads.running.registers.rax = error.returnValue }
        case .begin(let start): try begin(start, on: processor)
        }
        return nil
    }

    /// Registers as a program finds them at its beginning.
    private mutating func begin(_ start: Start, on processor: any GuestProcessor) throws(KVMError) {
        var registers = Registers()
        (registers.rip, registers.rsp, registers.rflags) = (start.entry, start.stackPointer, ProgramFlags.always)
        threads.running.registers = registers
        (processor.fsBase, processor.gsBase) = (0, 0)
        _ = try processor.setExtendedState(nil)
    }

    // MARK: Going on

    /// Lets the next thread go on that can, after the one that was served last.
    mutating func goOnWithNext(
        on processor: any GuestProcessor, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course {
        // Each round ends with a thread that runs, or one that waits from then on.
        while !signals.isStopped, let next = threads.next {
            threads.choose(next)
            guard let call = threads.running.call else { return try resume(on: processor, memory) }
            threads.running.call = nil
            callStarted = call.started
            hasTimedOut = call.wait.deadline.map { $0 <= moment.monotonic } ?? false
            if let course = try serve(on: processor, memory) { return course }
        }
        if let failure = space.failure { throw failure }
        threads.findNextDeadline()
        return .sleep(until: signals.isStopped ? nil : nextTimer)
    }

    /// Puts the running thread on the vCPU, behind what signals have to say.
    ///
    /// - Parameter forced: a signal that the thread has brought about.
    mutating func resume(
        taking forced: SignalInfo? = nil, on processor: any GuestProcessor, _ memory: borrowing GuestMemory
    ) throws(KVMError) -> Course {
        try bringRegisters(to: processor)
        restoreMask()
        var forced = forced
        // No processor can go on at such an address, and some cannot even be told to.
        if forced == nil, threads.running.registers.rip >= AddressLayout.userEnd {
            let fault = Fault(vector: 13, errorCode: 0, address: nil, rip: threads.running.registers.rip)
            forced = SignalInfo(.segmentation, .kernel, fault: fault)
        }
        if forced != nil || hasSignals || threads.running.interrupted != nil {
            if let end = try takeSignals(forced, on: processor, memory) { return .over(end) }
        }
        processor.registers = threads.running.registers
        if let failure = space.failure { throw failure }
        return signals.isStopped ? .sleep(until: nil) : .run
    }

    /// Exchanges what the vCPU holds of another thread for the running one's.
    private mutating func bringRegisters(to processor: any GuestProcessor) throws(KVMError) {
        guard threads.holder != threads.current else { return }
        if let holder = threads.holder {
            threads[holder].bases = (processor.fsBase, processor.gsBase)
            threads[holder].extendedState = try takeExtendedState(of: processor)
        }
        (processor.fsBase, processor.gsBase) = threads.running.bases
        _ = try processor.setExtendedState(threads.running.extendedState)
        threads.running.extendedState = nil
        threads.handOver()
    }
}

extension SignalFrame.Trap {
    /// What Linux shows of an exception.
    init(_ fault: Fault) {
        vector = UInt64(fault.vector)
        errorCode = UInt64(fault.errorCode ?? 0)
        address = fault.address ?? 0
        // How the system's own half of memory is mapped is none of a program's business.
        if fault.vector == 14, address >= AddressLayout.userEnd { errorCode |= 1 }
    }
}
