// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import KVM

/// What a job tells beside its output: the exits that its guest brought about, and its steps.
extension Execution {
    var isTracing: Bool { tracer != nil }

    /// Keeps and tells an exit that the guest brought about, with the value that it was answered. Returns the job's end where
    /// telling it took until then.
    func note(_ exit: VMExit) throws(KVMError) -> Outcome? {
        guard exitLog != nil || isTracing, let record = try ExitRecord(exit, of: machine.current.vcpu) else {
            return nil
        }
        return note(record)
    }

    /// Likewise, an exit that a step meter knew without entering the guest.
    @discardableResult
    func note(_ record: ExitRecord) -> Outcome? {
        if machine.seats.count > 1 { machine.current.exitLog?.append(record) } else { exitLog?.append(record) }
        return tell { _ in .exit(record) }
    }

    /// Puts a record on the trace, if there is one.
    func tell(_ record: (inout Tracer) -> TraceRecord) -> Outcome? {
        guard var tracer else { return nil }
        tell(record(&tracer).encoded, on: .trace)
        self.tracer = tracer
        guard output.isFull, let outcome = flush() else { return nil }
        self.tracer = nil
        return outcome
    }

    /// The instruction at a place, if the job is traced.
    func look(at point: ExecutionPoint, bits: UInt8? = nil) throws(KVMError) -> TracedInstruction? {
        guard isTracing else { return nil }
        let linear = point.linearAddress
        let code = try machine.bytes(from: linear, through: point.lastAddress, count: TraceStep.codeLimit, at: point)
        return TracedInstruction(
            rip: point.rip, linearAddress: linear, bits: bits ?? point.codeBits, code: code)
    }

    /// Tells instructions that retired together; the registers are those behind the last. Returns the job's end where telling it
    /// took until then.
    func trace(_ retired: [TracedInstruction], to registers: Registers) -> Outcome? {
        guard isTracing, let last = retired.last else { return nil }
        for instruction in retired.dropLast() {
            if let outcome = tell({ $0.merged(instruction) }) { return outcome }
        }
        return tell { $0.step(last, to: registers) }
    }
}
