// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// Counts steps by letting KVM stop the guest after each instruction (`KVM_GUESTDBG_SINGLESTEP`).
///
/// One step is one guest instruction retired. What a stepped `KVM_RUN` does differs between backends and instructions, so
/// each case that is not "one run, one step" is handled by name:
///
/// - An IO or memory exit is completed before anything is counted; then OUT and IN are one step each everywhere.
/// - HLT is recognised before it runs, since a software backend hides it behind a debug exit.
/// - A repeated string instruction stops many times; it counts when RIP moves on. So does one under a lock that other vCPUs want.
/// - A software backend runs some instructions together: a fault with its handler's first instruction, IRETQ with its target.
///   That an exception was raised tells of the one, the number of instructions emulated in the run of the other, and
///   ``MergedRun`` finds out which they were. The number takes a call, an eighth of a step, so it is asked only where it may
///   be needed.
/// - Hardware runs MOV SS and POP SS together with the next instruction; the profile tells.
struct DebugExitMeter: StepMeter {
    let machine: Machine
    /// The vCPU whose steps are counted.
    private let seat: VCPUSeat
    unowned let execution: Execution
    let backend: BackendProfile

    var steps: UInt64 = 0
    /// Where the present run stops.
    var limit: UInt64 = 0
    /// Instructions emulated before the run, where that is what tells of merged ones.
    private var emulated: UInt64?
    /// Instructions emulated before the run, as far as they are known without asking: what an interrupted run is held against.
    var emulatedBefore: UInt64 = 0
    /// Whether a run was interrupted between a fault and its handler's first instruction, with which the next run begins.
    private var isDelivering = false
    /// Whether the vCPU tells of exceptions, so that only IRETQ needs the count.
    private var isWatching = false
    private var isStepping = false
    private var inexact: String?

    init(machine: Machine, execution: Execution, backend: BackendProfile) {
        (self.machine, self.execution, self.backend) = (machine, execution, backend)
        seat = machine.current
    }

    mutating func run(limit: UInt64) throws(KVMError) -> Execution.Ending { try run(limit: limit, upTo: limit) }

    /// Steps on as `run(limit:)` does, and stops at a number of steps before the limit, or one behind it, as if out of steps.
    mutating func run(limit: UInt64, upTo stop: UInt64) throws(KVMError) -> Execution.Ending {
        self.limit = limit
        try startStepping()
        if let outcome = execution.interruption() { return ending(outcome) }
        var point = try seat.vcpu.executionPoint()
        while steps < stop {
            if isBeyondStepping(point) { return beyondStepping() }
            let instruction = Instruction(try machine.instruction(at: point), is64Bit: point.is64Bit)
            if instruction.isHalt, point.privilege == 0 {
                guard machine.kind.hardware != nil else { return try halt(instruction) }
                if let outcome = try stepHalt(instruction, at: point) { return ending(outcome) }
                point = try machine.current.vcpu.executionPoint()
                continue
            }
            if try leavesStepping(instruction, at: point) { return beyondStepping() }
            switch try step(instruction, at: point) {
            case .goOn: point = try seat.vcpu.executionPoint()
            case .end(let outcome, _): return ending(outcome)
            }
        }
        return ending(.exhausted(.steps, limit: limit, used: steps))
    }

    /// Once: a guest that goes on is still being stepped, and asking again would clear a trap flag of its own.
    private mutating func startStepping() throws(KVMError) {
        guard !isStepping else { return }
        isStepping = true
        // The kernel remembers where stepping began by the RIP that the vCPU has now, so the job's own has to be in place.
        _ = try seat.vcpu.settle()
        let ownFlags = try seat.vcpu.registers().rflags
        // Later there may be one that stepping itself has put into an exception's frame.
        if steps == 0, ownFlags & ExceptionFrame.trapFlag != 0 { inexact = Self.trapFlagIsLost }
        try seat.vcpu.setSingleStep(true)
        emulatedBefore = seat.vcpu.emulatedInstructions() ?? 0
        // A kick can come into the first run as into any other, behind an exception that has to be known of.
        watchAgain()
        if !backend.stepsHandlers, machine.mode != .user64 {
            inexact = BackendProfile.handlersAreSkipped
        }
    }

    /// Lets the guest run freely until the next run; a trap flag of its own is gone then, as it is while being stepped.
    mutating func stopStepping() throws(KVMError) {
        guard isStepping else { return }
        isStepping = false
        try seat.vcpu.setSingleStep(false)
    }

    /// Counts steps that the guest took without being stepped.
    mutating func add(_ count: UInt64) { steps += count }

    /// One entry into the guest, and what it adds to the count.
    private mutating func step(
        _ instruction: Instruction, at point: ExecutionPoint
    ) throws(KVMError) -> Execution.Verdict {
        if instruction.isFlagsPop, try setsTrapFlag(at: point) { inexact = Self.trapFlagIsLost }
        let told = try execution.look(at: point)
        let frame = try returnFrame(instruction, at: point)
        emulated = needsCount(instruction) ? seat.vcpu.emulatedInstructions() : nil
        let exit = try execution.enter()
        if case .interrupted = exit {
            let retired = retiredWhenInterrupted(instruction)
            steps += retired
            if retired > 0 {
                _ = try trace(MergedRun(), told, behind: try seat.vcpu.executionPoint())
            }
            return try execution.serve(exit)
        }
        let verdict = try execution.complete(exit)
        if case .end(_, retired: false) = verdict { return verdict }
        try stepOn(behind: exit, instruction)
        let after = try seat.vcpu.executionPoint()
        keepCount(behind: exit)
        guard let run = try add(instruction, frame, from: point, to: after) else { return verdict }
        let outcome = try trace(run, told, behind: after)
        if case .end = verdict { return verdict }
        guard run.endsInHalt else { return outcome.map { .end($0, retired: true) } ?? .goOn }
        guard machine.kind.hardware == nil else {
            return try waitForInterrupt().map { .end($0, retired: true) } ?? .goOn
        }
        execution.count(.halt)
        return .end(.halted, retired: true)
    }

    /// The steps are counted, but not those that the guest would have taken.
    private static let trapFlagIsLost = "the guest set its trap flag, which has no effect while it is stepped"

    /// Each return retires, each fault does not, and only their sum is told.
    private static let returnsWithinRun = "the guest returned from exceptions again and again within one run"

    /// Whether POPF is about to set the guest's own trap flag. What IRET finds in a frame may be the meter's.
    private func setsTrapFlag(at point: ExecutionPoint) throws(KVMError) -> Bool {
        let stack = try seat.vcpu.systemRegisters().ss
        let pointer = try seat.vcpu.registers().rsp
        let top = point.is64Bit ? pointer : stack.base &+ pointer & (stack.attributes.db ? 0xFFFF_FFFF : 0xFFFF)
        // The lowest bit of the second byte.
        guard let address = try machine.physicalAddress(of: top &+ 1, at: point) else { return false }
        return address < machine.vm.memory.bytes && machine.vm.memory.byte(at: address) & 1 != 0
    }

    /// Hardware loses the trap flag when KVM's emulator writes the flags back, and when the guest loads them itself.
    private func stepOn(behind exit: VMExit, _ instruction: Instruction) throws(KVMError) {
        guard !backend.countsEmulation, exit.needsCompletion || instruction.popsFlags else { return }
        try seat.vcpu.setSingleStep(true)
    }

    // MARK: Ring 3

    /// Whether single-stepping would end at ring 3: a software backend runs ring 3 of long mode by itself.
    private func losesRing3(at point: ExecutionPoint) -> Bool {
        machine.mode != .user64 && !backend.stepsRing3 && point.efer & ControlRegister.longModeActive != 0
    }

    /// Whether the guest is where single-stepping does not reach.
    func isBeyondStepping(_ point: ExecutionPoint) -> Bool { point.privilege != 0 && losesRing3(at: point) }

    /// Whether this instruction would take the guest there. It must not run: nothing but the wall time would stop it then.
    private func leavesStepping(_ instruction: Instruction, at point: ExecutionPoint) throws(KVMError) -> Bool {
        guard losesRing3(at: point) else { return false }
        if instruction.isSystemReturn { return true }
        guard instruction.isInterruptReturn || instruction.isFarReturn else { return false }
        let codeSelector = try seat.vcpu.registers().rsp &+ instruction.stackOperandBytes
        guard let address = try machine.physicalAddress(of: codeSelector, at: point) else { return false }
        return machine.vm.memory.byte(at: address) & 3 != 0
    }

    private func beyondStepping() -> Execution.Ending {
        ending(
            .hostError(
                "the guest goes to ring 3, where this machine's KVM cannot count steps: run it without a step budget"))
    }

    // MARK: Counting

    /// Adds what the run retired, if it did, and returns it.
    private mutating func add(
        _ instruction: Instruction, _ frame: UInt64?, from before: ExecutionPoint, to after: ExecutionPoint
    ) throws(KVMError) -> MergedRun? {
        let emulatedNow = max(1, emulatedInRun())
        defer { watchAgain() }
        let unmoved = before.linearAddress == after.linearAddress
        if unmoved, instruction.isRepeatedString || instruction.mayNeverRetire { return nil }
        if unmoved, instruction.isLocked, machine.seats.count > 1 { return nil }
        var run = MergedRun()
        if backend.mergesStackSegmentLoads, instruction.loadsStackSegment {
            let code = try seat.vcpu.systemRegisters().cs.attributes
            let bits = code.l ? 64 : code.db ? 32 : 16
            run.addInstruction(behind: before, by: instruction.stackSegmentLoadBytes(bits: bits))
        }
        if emulatedNow > 1 || isDelivering {
            // An IRETQ that faults is followed by its handler's first instruction, as any other that does.
            let hasFaulted = isDelivering || (emulatedNow == 2 && isWatching && seat.vcpu.hasRaisedException)
            isDelivering = false
            run = try MergedRun(of: emulatedNow, frame: hasFaulted ? nil : frame, endingAt: after, in: machine)
        }
        steps += run.retired
        if run.isUncertain { inexact = Self.returnsWithinRun }
        return run
    }

    /// Tells what the run retired, and a HLT among it. Returns the job's end where telling it took until then.
    private func trace(
        _ run: MergedRun, _ first: TracedInstruction?, behind after: ExecutionPoint
    ) throws(KVMError) -> Outcome? {
        if run.endsInHalt { execution.note(ExitRecord(kind: .halt, rip: after.rip)) }
        guard let first else { return nil }
        var retired = run.retiresFirst ? [first] : []
        for place in run.others {
            var point = after
            (point.rip, point.codeBase) = (place.rip, place.linearAddress &- place.rip)
            if let instruction = try execution.look(at: point) { retired.append(instruction) }
        }
        return execution.trace(retired, to: try seat.vcpu.registers())
    }

    /// Where IRETQ will pop its frame from, which is gone afterwards.
    private func returnFrame(_ instruction: Instruction, at point: ExecutionPoint) throws(KVMError) -> UInt64? {
        guard backend.countsEmulation, instruction.isInterruptReturn, point.is64Bit else { return nil }
        return try seat.vcpu.registers().rsp
    }

    /// How many instructions an interrupted run retired: those that a software backend does not stop behind, which are IRETQs. Else
    /// none: a fault waits to be delivered, or a string goes on. Where faults and returns may have taken turns, nobody can tell.
    private mutating func retiredWhenInterrupted(_ instruction: Instruction) -> UInt64 {
        guard backend.countsEmulation, let now = seat.vcpu.emulatedInstructions() else { return 0 }
        let count = now &- emulatedBefore
        let hasFaulted = isWatching && seat.vcpu.hasRaisedException
        let returns = instruction.isInterruptReturn && isWatching && !isDelivering
        let takesTurns = returns ? hasFaulted && count > 2 : count > 1 || (count == 1 && (isDelivering || !isWatching))
        if !instruction.isRepeatedString, takesTurns { inexact = Self.returnsWithinRun }
        emulatedBefore = now
        isDelivering = (count == 0 && isDelivering) || hasFaulted
        watchAgain()
        return returns ? count - min(count, hasFaulted ? 1 : 0) : 0
    }

    /// Each run emulates one instruction, but for those that had to be looked at.
    private mutating func keepCount(behind exit: VMExit) {
        let isKnown = emulated == nil && !exit.needsCompletion && (!isWatching || !seat.vcpu.hasRaisedException)
        emulatedBefore = isKnown ? emulatedBefore + 1 : seat.vcpu.emulatedInstructions() ?? emulatedBefore
    }

    private func needsCount(_ instruction: Instruction) -> Bool {
        backend.countsEmulation && (!isWatching || instruction.isInterruptReturn)
    }

    /// How many instructions the last run emulated, or just more than one where their number makes no difference.
    private func emulatedInRun() -> UInt64 {
        if let emulated { return (seat.vcpu.emulatedInstructions() ?? emulated) &- emulated }
        return isWatching && seat.vcpu.hasRaisedException ? 2 : 1
    }

    /// After an exception, and after the first run, the vCPU has to be told to watch for the next one.
    private mutating func watchAgain() {
        guard backend.countsEmulation, !isWatching || seat.vcpu.hasRaisedException else { return }
        isWatching = seat.vcpu.watchExceptions()
    }

    /// HLT is not entered: it is the last step, and RIP goes behind it as after the exit that it would have been.
    private mutating func halt(_ instruction: Instruction) throws(KVMError) -> Execution.Ending {
        steps += 1
        execution.count(.halt)
        var ending = ending(.halted)
        var registers = try seat.vcpu.registers()
        let told = try execution.look(at: try seat.vcpu.executionPoint())
        registers.rip &+= instruction.haltBytes
        ending.registers = registers
        execution.note(ExitRecord(kind: .halt, rip: registers.rip))
        if let told { _ = execution.trace([told], to: registers) }
        return ending
    }

    /// Instructions that retire together can take the guest beyond its limit. Then the count is right and the place is not; a
    /// guest that goes on has nothing to tell of that.
    func ending(_ outcome: Outcome) -> Execution.Ending {
        let overrun = steps > limit ? "the last instruction retired together with the one behind it" : nil
        return .init(
            outcome: outcome, steps: steps, meter: (inexact ?? overrun).map { .bounded(reason: $0) } ?? .exact)
    }
}

extension VMExit {
    /// Whether the guest's instruction is only done when the run after this exit has completed it.
    var needsCompletion: Bool {
        switch self {
        case .portIn, .portOut, .mmioRead, .mmioWrite, .msrRead, .msrWrite: true
        case .halt, .shutdown, .failEntry, .internalError, .interrupted, .taskPriorityChanged, .debug, .other: false
        }
    }
}
