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
struct GuestTrapMeter {
    private let machine: Machine
    private let execution: Execution

    private var steps: UInt64 = 0
    private var inexact: String?
    /// The program as it is between two instructions, its own trap flag included and the meter's not.
    private var program: Registers
    /// Whether the trap of an instruction that is already known is still to come.
    private var awaitsTrap = false

    private static let debugException: UInt8 = 1
    /// INT3 and INTO retire before they trap.
    private static let retiringTraps: Set<UInt8> = [3, 4]

    init(machine: Machine, execution: Execution) {
        (self.machine, self.execution) = (machine, execution)
        program = Registers()
    }

    mutating func run(limit: UInt64) throws(KVMError) -> Execution.Ending {
        program = try machine.vcpu.registers()
        var started = program
        started.rflags |= ExceptionFrame.trapFlag
        try machine.vcpu.setRegisters(started)
        if let outcome = execution.interruption() { return ending(outcome) }
        var point = try machine.vcpu.executionPoint()
        var instruction = Instruction(try machine.instruction(at: point), is64Bit: point.is64Bit)
        while steps < limit {
            if case .end(let outcome, _) = try step(instruction, remaining: limit - steps) { return ending(outcome) }
            guard !awaitsTrap, point.rip != program.rip || !instruction.isRepeatedString else { continue }
            point.rip = program.rip
            instruction = Instruction(try machine.instruction(at: point), is64Bit: point.is64Bit)
        }
        return ending(.exhausted(.steps, limit: limit, used: steps))
    }

    /// One entry into the guest. Where it ends says whether the instruction retired.
    private mutating func step(_ instruction: Instruction, remaining: UInt64) throws(KVMError) -> Execution.Verdict {
        let exit = try execution.enter()
        if case .interrupted = exit { return try execution.serve(exit) }
        if try isTrap(exit) { return try trapped(instruction, remaining: remaining) }
        let verdict = try execution.serve(exit)
        if case .end(_, retired: false) = verdict { return verdict }
        guard exit.needsCompletion else { return verdict }
        while let next = try machine.vcpu.settle() { _ = try execution.serve(next) }
        // KVM emulated the instruction: after an IN the trap is still to come, after an OUT it has been swallowed.
        awaitsTrap = try machine.vcpu.hasPendingDebugException()
        if !awaitsTrap {
            let registers = restoringOwnTrapFlag(try machine.vcpu.registers())
            try retire(instruction, registers, remaining: remaining)
        }
        return verdict
    }

    private func isTrap(_ exit: VMExit) throws(KVMError) -> Bool {
        guard case .portOut(let access) = exit, access.port == SystemArea.trapPort else { return false }
        return try machine.vcpu.executionPoint().privilege == 0
    }

    private mutating func trapped(_ instruction: Instruction, remaining: UInt64) throws(KVMError) -> Execution.Verdict {
        awaitsTrap = false
        _ = try machine.vcpu.settle()
        let frame = ExceptionFrame(registers: try machine.vcpu.registers(), system: try machine.vcpu.systemRegisters())
        var (fault, registers) = frame.decode(from: machine.machine.memory)
        guard fault.vector == Self.debugException else {
            if Self.retiringTraps.contains(fault.vector) {
                steps += 1
                program = restoringOwnTrapFlag(registers)
            }
            return .end(.faulted(fault), retired: false)
        }
        let ownTrap = program.rflags & ExceptionFrame.trapFlag != 0
        if !instruction.popsFlags {
            registers = restoringOwnTrapFlag(registers)
        }
        if instruction.pushesFlags, !ownTrap { try hideTrapFlag(at: registers.rsp) }
        try retire(instruction, registers, remaining: remaining)
        if ownTrap { return .end(.faulted(fault), retired: true) }
        let flags = registers.rflags | ExceptionFrame.trapFlag
        guard machine.machine.memory.setWord(flags, at: frame.flagsAddress) else {
            return .end(.hostError("the exception frame is outside guest memory"), retired: false)
        }
        return .goOn
    }

    /// The registers with the program's own trap flag in place of the meter's.
    private func restoringOwnTrapFlag(_ registers: Registers) -> Registers {
        var registers = registers
        registers.rflags = registers.rflags & ~ExceptionFrame.trapFlag | program.rflags & ExceptionFrame.trapFlag
        return registers
    }

    private mutating func retire(
        _ instruction: Instruction, _ registers: Registers, remaining: UInt64
    ) throws(KVMError) {
        let before = program.rip
        program = registers
        if instruction.isRepeatedString, registers.rip == before { return }
        let retired = try instruction.loadsStackSegment ? retiredBehindStackSegmentLoad(from: before) : 1
        if retired > remaining { inexact = "MOV SS retired together with the instruction behind it" }
        steps += retired
    }

    /// MOV SS holds the trap back until the next instruction has retired too, which may be another MOV SS.
    private func retiredBehindStackSegmentLoad(from start: UInt64) throws(KVMError) -> UInt64 {
        var point = try machine.vcpu.executionPoint()
        var retired: UInt64 = 0
        point.rip = start
        repeat {
            let instruction = Instruction(try machine.instruction(at: point), is64Bit: true)
            retired += 1
            guard instruction.loadsStackSegment else { break }
            point.rip &+= instruction.stackSegmentLoadBytes
        } while point.rip != program.rip
        return retired
    }

    /// Clears the meter's trap flag in what PUSHF just pushed: bit 0 of the second byte.
    private func hideTrapFlag(at stackPointer: UInt64) throws(KVMError) {
        let point = try machine.vcpu.executionPoint()
        guard let address = try machine.physicalAddress(of: stackPointer &+ 1, at: point) else { return }
        _ = machine.machine.memory.write([machine.machine.memory.byte(at: address) & ~1], at: address)
    }

    private func ending(_ outcome: Outcome) -> Execution.Ending {
        .init(
            outcome: outcome, steps: steps, meter: inexact.map { .bounded(reason: $0) } ?? .exact,
            registers: awaitsTrap ? nil : program)
    }
}
