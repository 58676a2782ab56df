// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM
internal import LinuxPersonality

/// Runs a Linux program in a job's machine: between the vCPU, which leaves the guest for each system call and each fault, and the
/// process, which knows what is to come of them.
///
/// Refers to its execution without owning it, as step meters do.
final class ProgramLoop {
    /// How long a thread runs before another one has its turn: 10 ms, in nanoseconds.
    private static let sliceNanoseconds: UInt64 = 10_000_000

    private unowned let execution: Execution
    private let seat: ProgramSeat
    private(set) var process: LinuxProcess
    private var clock: ProgramClock
    private var window = InputWindow()
    private var end: ProcessEnd?

    private var machine: Machine { execution.machine }

    init(_ start: ProgramStart, _ execution: Execution) {
        self.execution = execution
        seat = ProgramSeat(execution.machine)
        process = start.process
        let machine = execution.machine
        clock = ProgramClock(
            start.clock, from: start.process.moment, offset: machine.timeStampOffset(on: execution.backend),
            rate: execution.backend.timeStampRate)
        clock.install(in: machine.vm.memory)
        process.reseed(ProgramSeed.bytes(start.seed), machine.vm.memory)
        window.close(machine.vm.memory)
    }

    /// Runs the program until it has ended, or something else ends its job.
    func run() throws(KVMError) -> Execution.Ending {
        var outcome = execution.interruption()
        while outcome == nil { outcome = try turn() }
        _ = sendOutput()
        return Execution.Ending(outcome: outcome ?? .halted, registers: seat.registers)
    }

    /// Once into the guest, and what comes of it.
    private func turn() throws(KVMError) -> Outcome? {
        try seat.putBack()
        let exit = try execution.enter()
        execution.count(exit)
        switch try seat.take(exit) {
        case .call: return try serveCall(after: exit)
        case .fault(let fault):
            guard !ProgramArea.isCallPage(fault.rip) else { return try serveFaultInCall(fault, after: exit) }
            return try follow(try process.serveFault(fault, on: seat, at: clock.next(), machine.vm.memory), after: exit)
        case .interrupted:
            if let outcome = execution.interruption() { return outcome }
            guard isSliceOver, seat.isAtProgram else { return nil }
            return try follow(try process.preempt(on: seat, at: clock.next(), machine.vm.memory), after: exit)
        case .other:
            guard case .end(let outcome, _) = try execution.answer(exit) else { return nil }
            return outcome
        }
    }

    private func serveCall(after exit: VMExit) throws(KVMError) -> Outcome? {
        let isRead = seat.registers.rax == 0 && seat.registers.rdi == 0
        window.settle(&process, machine.vm.memory)
        supplyInput()
        let course = try process.serveCall(on: seat, at: clock.next(), machine.vm.memory)
        let outcome = try follow(course, after: exit)
        window.offer(process, afterRead: isRead, machine.vm.memory)
        return outcome
    }

    /// The code in the call page has come upon a page that is not there: the program's buffer. If it cannot be had, the call is served
    /// as if that code had not begun with it.
    private func serveFaultInCall(_ fault: Fault, after exit: VMExit) throws(KVMError) -> Outcome? {
        if process.resolve(fault, machine.vm.memory) { return nil }
        guard seat.returnToCall() else {
            return try follow(try process.serveFault(fault, on: seat, at: clock.next(), machine.vm.memory), after: exit)
        }
        return try serveCall(after: exit)
    }

    /// Does what the process says, until the guest can be entered.
    private func follow(_ course: Course, after exit: VMExit) throws(KVMError) -> Outcome? {
        var course = course
        while true {
            if process.hasOutgoing, let outcome = sendOutput() { return outcome }
            switch course {
            case .over(let end): return outcome(of: end)
            case .sleep(let until):
                if let outcome = sleep(until: until) { return outcome }
                course = try process.goOn(on: seat, at: clock.next(), machine.vm.memory)
            case .run:
                if process.takeReady(), let outcome = execution.readyOutcome { return outcome }
                guard !seat.isInReach else { return try told(exit) }
                // No processor can be entered there; a program that jumps there faults.
                let fault = Fault(vector: 13, errorCode: 0, address: nil, rip: seat.registers.rip)
                course = try process.serveFault(fault, on: seat, at: clock.next(), machine.vm.memory)
                if let outcome = execution.interruption() { return outcome }
            }
        }
    }

    /// The end of the exit budget, or what telling the exit took.
    private func told(_ exit: VMExit) throws(KVMError) -> Outcome? {
        armSlice()
        let told = try execution.note(exit)
        return execution.watch.exhausted(by: execution.exits) ?? told
    }

    // MARK: Time

    private var isSliceOver: Bool {
        guard let sliceEnd = execution.sliceEnd else { return false }
        return MonotonicClock.now >= sliceEnd
    }

    /// Sees to it that the running thread is interrupted when others want to run, or when a timer of the program's ends.
    private func armSlice() {
        let timer = process.nextTimer.map(clock.hostInstant) ?? .max
        guard process.wantsTimeSlices || timer != .max else {
            if execution.sliceEnd != nil { execution.sliceEnd = nil }
            return
        }
        let now = MonotonicClock.now
        if let sliceEnd = execution.sliceEnd, sliceEnd > now, sliceEnd <= timer { return }
        execution.sliceEnd = min(timer, process.wantsTimeSlices ? now + Self.sliceNanoseconds : .max)
    }

    /// Waits until the process can go on, or returns the job's end. What was written is sent first.
    private func sleep(until instant: UInt64?) -> Outcome? {
        if let outcome = execution.flush() { return outcome }
        if let instant, clock.skip(to: instant) { return nil }
        let end = instant.map(clock.hostInstant) ?? .max
        while !supplyInput(), MonotonicClock.now < end {
            execution.control.waitForChange(until: min(end, execution.watch.nextLook))
            if let outcome = execution.interruption() { return outcome }
        }
        return nil
    }

    // MARK: Streams

    /// Gives the program what has come for it, if it has read all that came before. Returns whether there was anything.
    @discardableResult
    private func supplyInput() -> Bool {
        guard process.wantsInput else { return false }
        let (bytes, ended) = execution.control.takeInput()
        guard !bytes.isEmpty || ended else { return false }
        process.supply(bytes, isEnd: ended)
        if !bytes.isEmpty { execution.emit(.inputConsumed(bytes.count)) }
        return true
    }

    /// Keeps what the program has written until it is sent, and waits for credit where that is much.
    private func sendOutput() -> Outcome? {
        for part in process.takeOutgoing() {
            let channel: OutputChannel = part.stream == .standardOutput ? .console : .standardError
            if let outcome = execution.append(part.bytes, to: channel) { return outcome }
        }
        return execution.output.isFull ? execution.flush() : nil
    }

    // MARK: The end

    private func outcome(of end: ProcessEnd) -> Outcome {
        self.end = end
        switch end {
        case .exited(let status): return .exited(code: UInt32(status))
        case .killed(let signal, let fault):
            if process.refusals > 0 {
                let memory = machine.vm.memory.bytes
                return .exhausted(.memory, limit: memory, used: min(process.peakBytes, memory))
            }
            return fault.map { .faulted($0) } ?? .exited(code: 128 + UInt32(signal))
        }
    }

    /// What the result says of the process.
    var report: ProgramReport {
        var report = ProgramReport(
            systemCalls: process.counts.calls &+ fastCalls,
            unknownCalls: Array(process.counts.unknown.sorted().prefix(ProgramReport.unknownCallLimit)),
            peakBytes: process.peakBytes)
        guard case .killed(let signal, let fault)? = end else { return report }
        report.signal = signal
        report.place = fault.flatMap { process.place(of: $0.rip) }
        return report
    }

    /// Calls that the code in the guest has answered, by its own account.
    private var fastCalls: UInt64 {
        machine.vm.memory.word(at: ProgramArea.physicalAddress(of: ProgramArea.fastCalls)) ?? 0
    }

    /// What a snapshot keeps of the program.
    func start(like start: ProgramStart) -> ProgramStart {
        var start = start
        start.process = process
        start.process.leaveJob()
        return start
    }

    /// Segments and control registers as the program has them.
    func systemRegisters() throws(KVMError) -> SystemRegisters { try seat.systemRegisters() }
}
