// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// Steps on the board of a PC, where HLT waits for an interrupt.
///
/// HLT is one step, and the time that it waits is none. A backend that steps it may go on at once, so the vCPU is told to wait; the run
/// that an interrupt ends then takes the handler's first instruction, as any run does into which an interrupt comes.
extension DebugExitMeter {
    /// Takes a HLT and waits behind it. Returns the job's end, if it comes to that.
    mutating func stepHalt(_ instruction: Instruction, at point: ExecutionPoint) throws(KVMError) -> Outcome? {
        let exit = try execution.enter()
        guard case .debug = exit else { return try takeFirst(exit) }
        if case .end(let outcome, _) = try execution.serve(exit) { return outcome }
        steps += 1
        emulatedBefore = machine.current.vcpu.emulatedInstructions() ?? emulatedBefore
        let after = try machine.current.vcpu.executionPoint()
        // Anywhere else it is an interrupt's handler that has begun, and the HLT comes later.
        guard after.linearAddress == point.linearAddress &+ instruction.haltBytes else { return nil }
        return try waitForInterrupt()
    }

    /// Waits behind a HLT, until a handler's first instruction is done. Returns the job's end, if no interrupt can come or a budget ends
    /// the wait.
    mutating func waitForInterrupt() throws(KVMError) -> Outcome? {
        try machine.current.vcpu.waitForInterrupt()
        if try machine.current.vcpu.isHalted(in: machine.vm) { return .halted }
        guard steps < limit else { return nil }
        while true {
            let exit = try execution.enter()
            guard case .interrupted = exit else { return try takeFirst(exit) }
            if case .end(let outcome, _) = try execution.serve(exit) { return outcome }
        }
    }

    /// Serves the exit of a run in which an interrupt was taken; whatever it was, the handler's first instruction is done then.
    private mutating func takeFirst(_ exit: VMExit) throws(KVMError) -> Outcome? {
        if case .interrupted = exit {
            guard case .end(let outcome, _) = try execution.serve(exit) else { return nil }
            return outcome
        }
        let verdict = try execution.complete(exit)
        if case .end(let outcome, retired: false) = verdict { return outcome }
        steps += 1
        emulatedBefore = machine.current.vcpu.emulatedInstructions() ?? emulatedBefore
        guard case .end(let outcome, _) = verdict else { return nil }
        return outcome
    }
}
