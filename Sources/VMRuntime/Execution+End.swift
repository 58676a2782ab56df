// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// From the guest's last instruction to the job's result.
extension Execution {
    /// Completes what is pending, sends the rest of the output, whether or not there is credit, and reads the registers.
    func conclude(_ ending: Ending) throws(KVMError) -> JobResult {
        let time = usedTime
        try settlePending()
        sendRest()
        let touched = try watch.touchedBytes(of: machine.vm.memory)
        var ending = ending
        ending.outcome = watch.outcome(of: ending.outcome, after: time, touching: touched)
        try checkSnapshot(&ending)
        var result = result(ending, time)
        result.touchedBytes = touched
        try readRegisters(into: &result, ending)
        // Whatever it was, the vCPU may have a part in it.
        if case .hostError = ending.outcome { machine.retire() }
        result.processors = try processorReports()
        result.digest = digest?.value(of: result, memory: machine.vm.memory)
        result.postMortem.exits = exitLog?.records ?? []
        result.program = programLoop?.report
        try Inquest(machine: machine, backend: backend, report: inquiry.report).fill(&result)
        dump()
        try keepSnapshot(of: ending)
        return result
    }

    /// Sends the memory windows that the job asked for. The result is complete by then, and waits for them.
    private func dump() {
        guard !inquiry.dumps.isEmpty else { return }
        var dump = MemoryDump(inquiry.dumps)
        dump.send(from: machine.vm.memory, through: control, emit: emit)
    }

    func sendRest() {
        // What is sent without credit uses up what there is.
        _ = control.takeCredit(upTo: output.count)
        send(output.count)
        reportConsumed()
    }

    func result(_ ending: Ending, _ time: BudgetWatch.Time) -> JobResult {
        var result = JobResult(outcome: ending.outcome)
        (result.steps, result.meter) = (ending.steps, ending.meter)
        (result.wallNanoseconds, result.cpuNanoseconds) = (time.wall, time.processor)
        result.exits = exits
        result.outputBytes = outputBytes
        result.unclaimedPortWrites = board.unclaimedWrites
        result.droppedMemoryWrites = droppedWrites
        return result
    }

    /// An IN that nobody answered any more reads as zeros.
    func settlePending() throws(KVMError) {
        if try !machine.current.vcpu.abandonAccess() { machine.retire() }
    }

    /// Lets an exit that the job's end came before read zeros, if it reads anything: not what the run area held before, as
    /// kernels that do not clear it would have it.
    func leaveUnanswered(_ exit: VMExit) {
        switch exit {
        case .portIn(let access):
            for index in 0..<access.count { machine.current.vcpu.setPortValue(0, at: index, of: access) }
        case .mmioRead: machine.current.vcpu.setMMIOValue(0)
        // The kernel has a zero ready for RDMSR.
        case .portOut, .mmioWrite, .msrRead, .msrWrite, .halt, .shutdown, .failEntry, .internalError, .interrupted,
            .taskPriorityChanged, .debug, .other:
            break
        }
    }

    func readRegisters(into result: inout JobResult, _ ending: Ending) throws(KVMError) {
        if case .tripleFault = ending.outcome, !backend.keepsRegistersAfterShutdown { return }
        var registers = try machine.current.vcpu.registers()
        var system = try machine.current.vcpu.systemRegisters()
        if machine.mode == .user64, system.cs.attributes.dpl == 0 {
            // Stopped in an exception stub: what counts is the program, not the stub.
            let frame = ExceptionFrame(registers: registers, system: system)
            registers = frame.decode(from: machine.vm.memory).registers
            frame.restoreSegments(in: &system, from: machine.vm.memory)
        }
        if let programLoop { system = try programLoop.systemRegisters() }
        result.registers = ending.registers ?? registers
        result.system = system
    }
}
