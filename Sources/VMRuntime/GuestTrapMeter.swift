// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// Counts steps of a `user64` program by the processor's own trap flag, where KVM's single-stepping does not reach ring 3.
///
/// With RFLAGS.TF set, each instruction ends in a debug exception; its stub in the system area writes to the trap port, which
/// brings the worker back, and IRETQ returns to the program. The program cannot tell: what PUSHF shows and what POPF or IRET
/// set is kept apart from the meter's own flag.
struct GuestTrapMeter: StepMeter {
    private let machine: Machine
    private unowned let execution: Execution

    private var steps: UInt64 = 0
    /// Where the present run stops.
    private var limit: UInt64 = 0
    private var hasStarted = false
    /// The program as it is between two instructions, its own trap flag included and the meter's not.
    private var program: Registers
    /// The program's registers behind an instruction whose trap is still to come.
    private var awaitingTrap: Registers?
    /// Where the program's next instruction is found.
    private var point: ExecutionPoint
    /// That instruction, if the job is traced.
    private var told: TracedInstruction?

    private static let debugException: UInt8 = 1
    /// INT3 and INTO retire before they trap.
    private static let retiringTraps: Set<UInt8> = [3, 4]

    init(machine: Machine, execution: Execution) throws(KVMError) {
        (self.machine, self.execution) = (machine, execution)
        program = try machine.current.vcpu.registers()
        point = try machine.current.vcpu.executionPoint()
    }

    mutating func run(limit: UInt64) throws(KVMError) -> Execution.Ending {
        self.limit = limit
        try start()
        if let outcome = execution.interruption() { return ending(outcome) }
        while steps < limit {
            let instruction = Instruction(try machine.instruction(at: point), is64Bit: point.is64Bit)
            told = try look(at: point)
            // A repeated string instruction may change its own bytes: it stays what it was until it is done.
            repeat {
                let verdict = try step(instruction)
                if case .end(let outcome, _) = verdict { return ending(outcome) }
            } while awaitingTrap != nil || (instruction.isRepeatedString && program.rip == point.rip)
            point.rip = program.rip
        }
        return ending(.exhausted(.steps, limit: limit, used: steps))
    }

    /// Once: a program that goes on stands in the stub behind its last trap, or has the meter's trap flag set already.
    private mutating func start() throws(KVMError) {
        guard !hasStarted else { return }
        hasStarted = true
        var started = program
        started.rflags |= ExceptionFrame.trapFlag
        try machine.current.vcpu.setRegisters(started)
    }

    /// One entry into the guest. Where it ends says whether the instruction retired.
    private mutating func step(_ instruction: Instruction) throws(KVMError) -> Execution.Verdict {
        let exit = try execution.enter()
        if case .interrupted = exit { return try execution.serve(exit) }
        if try isTrap(exit) {
            let verdict = try trapped(instruction)
            // The trap is the meter's own exit; an exception that ends the program is the program's.
            var counted = exit
            if case .goOn = verdict { counted = .debug(linearAddress: program.rip) }
            execution.count(counted)
            return verdict
        }
        let verdict = try execution.complete(exit)
        if case .end(_, retired: false) = verdict { return verdict }
        guard exit.needsCompletion else { return verdict }
        // KVM emulated the instruction: after an IN the trap is still to come, after an OUT it has been swallowed. Where the
        // job ends here nobody waits for it.
        let registers = restoringOwnTrapFlag(try machine.current.vcpu.registers())
        if case .goOn = verdict, try machine.current.vcpu.hasPendingDebugException() {
            awaitingTrap = registers
        } else {
            let behind = try lastRetired(instruction, endingAt: registers.rip).behind
            let outcome = try retire(instruction, registers, behind: behind)
            if case .goOn = verdict, let outcome { return .end(outcome, retired: true) }
        }
        return verdict
    }

    private func isTrap(_ exit: VMExit) throws(KVMError) -> Bool {
        guard case .portOut(let access) = exit, access.port == SystemArea.trapPort else { return false }
        return try machine.current.vcpu.executionPoint().privilege == 0
    }

    private mutating func trapped(_ instruction: Instruction) throws(KVMError) -> Execution.Verdict {
        awaitingTrap = nil
        _ = try machine.current.vcpu.settle()
        let frame = try machine.exceptionFrame()
        var (fault, registers) = frame.decode(from: machine.vm.memory)
        let (last, behind) = try lastRetired(instruction, endingAt: registers.rip)
        guard fault.vector == Self.debugException, !last.isDebugTrap else {
            // SYSCALL, where a backend lets it through, has put the flags in R11.
            if last.isSystemCall, fault.rip == SystemArea.start { registers.r11 &= ~ExceptionFrame.trapFlag }
            program = restoringOwnTrapFlag(registers)
            return try faulted(fault, at: registers.rip, last, behind)
        }
        let ownTrap = program.rflags & ExceptionFrame.trapFlag != 0
        if !last.popsFlags { registers = restoringOwnTrapFlag(registers) }
        if last.pushesFlags, !ownTrap { try hideTrapFlag(at: registers.rsp) }
        let outcome = try retire(instruction, registers, behind: behind)
        point.is64Bit = frame.isProgram64Bit(machine.vm.memory)
        if ownTrap { return .end(.faulted(fault), retired: true) }
        let flags = registers.rflags | ExceptionFrame.trapFlag
        guard machine.vm.memory.setWord(flags, at: frame.flagsAddress) else {
            return .end(.hostError("the exception frame is outside guest memory"), retired: false)
        }
        return outcome.map { .end($0, retired: true) } ?? .goOn
    }

    /// Counts what retired before a fault: MOV SS that held its trap back, and INT3 and INTO themselves.
    private mutating func faulted(
        _ fault: Fault, at rip: UInt64, _ last: Instruction, _ behind: [UInt64]
    ) throws(KVMError) -> Execution.Verdict {
        let isTrap = Self.retiringTraps.contains(fault.vector)
        let places = [point.rip] + behind
        let retired = !isTrap && rip == point.rip ? 0 : places.count - (isTrap || last.loadsStackSegment ? 0 : 1)
        guard retired > 0 else { return .end(.faulted(fault), retired: false) }
        steps += UInt64(retired)
        var told = told.map { [$0] } ?? []
        for rip in places[1..<max(1, retired)] {
            var place = point
            place.rip = rip
            if let instruction = try look(at: place) { told.append(instruction) }
        }
        if !told.isEmpty { _ = execution.trace(told, to: program) }
        // The fault came behind the last step that there was.
        if !isTrap, steps >= limit { return .end(.exhausted(.steps, limit: limit, used: steps), retired: true) }
        return .end(.faulted(fault), retired: false)
    }

    /// The registers with the program's own trap flag in place of the meter's.
    private func restoringOwnTrapFlag(_ registers: Registers) -> Registers {
        var registers = registers
        registers.rflags = registers.rflags & ~ExceptionFrame.trapFlag | program.rflags & ExceptionFrame.trapFlag
        return registers
    }

    /// Counts and tells the instruction and those behind it that retired with it. Returns the job's end where telling them took
    /// until then.
    private mutating func retire(
        _ instruction: Instruction, _ registers: Registers, behind: [UInt64]
    ) throws(KVMError) -> Outcome? {
        let before = program.rip
        program = registers
        if instruction.isRepeatedString, registers.rip == before { return nil }
        steps += 1 + UInt64(behind.count)
        guard let told else { return nil }
        var retired = [told]
        for rip in behind {
            var place = point
            place.rip = rip
            if let next = try look(at: place) { retired.append(next) }
        }
        return execution.trace(retired, to: registers)
    }

    /// The instruction at a place, if the job is traced. What is no 64-bit code here is 32-bit code.
    private func look(at place: ExecutionPoint) throws(KVMError) -> TracedInstruction? {
        try execution.look(at: place, bits: place.is64Bit ? 64 : 32)
    }

    /// The last of the instructions that ran before the trap, and where those behind the first are: MOV SS holds the trap back
    /// until the next instruction has retired too, which may be another MOV SS.
    private func lastRetired(
        _ instruction: Instruction, endingAt end: UInt64
    ) throws(KVMError) -> (last: Instruction, behind: [UInt64]) {
        var (last, behind) = (instruction, [UInt64]())
        var place = point
        while last.loadsStackSegment {
            place.rip &+= last.stackSegmentLoadBytes(bits: place.is64Bit ? 64 : 32)
            guard place.rip != end else { break }
            last = Instruction(try machine.instruction(at: place), is64Bit: place.is64Bit)
            behind.append(place.rip)
        }
        return (last, behind)
    }

    /// Clears the meter's trap flag in what PUSHF just pushed: bit 0 of the second byte.
    private func hideTrapFlag(at stackPointer: UInt64) throws(KVMError) {
        let point = try machine.current.vcpu.executionPoint()
        guard let address = try machine.physicalAddress(of: stackPointer &+ 1, at: point) else { return }
        _ = machine.vm.memory.write([machine.vm.memory.byte(at: address) & ~1], at: address)
    }

    /// MOV SS can take the program beyond its limit. Then the count is right and the place is not; a program that goes on has
    /// nothing to tell of that.
    private func ending(_ outcome: Outcome) -> Execution.Ending {
        let overrun = "MOV SS retired together with the instruction behind it"
        return .init(
            outcome: outcome, steps: steps, meter: steps > limit ? .bounded(reason: overrun) : .exact,
            registers: awaitingTrap ?? program)
    }
}
