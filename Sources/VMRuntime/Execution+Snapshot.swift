// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// Where a job ends to be kept, and as what.
struct SnapshotOrder: Sendable {
    let point: SnapshotPoint
    let terms: SnapshotTerms

    var name: ContentDigest { terms.name }
}

/// A job that ends at a point to be kept as a ``Snapshot``.
///
/// The steps before the point are counted by the job's meter, so it is the same instant as that at which a job with this step budget
/// would end. Where a backend retires two instructions together, the point between them is not there: the state is that behind
/// both, and the result's steps say so.
extension Execution {
    /// How a job ends that says it is ready, if that is what it was to be kept at.
    var readyOutcome: Outcome? {
        guard let snapshotOrder, case .ready = snapshotOrder.point else { return nil }
        return .snapshotTaken(snapshotOrder.name)
    }

    /// Counts on to the point, or to what ends the job before.
    func count(upTo limit: UInt64, stoppingAt order: SnapshotOrder) throws(KVMError) -> Ending {
        switch order.point {
        case .ready: return try count(upTo: limit)
        case .steps(let steps):
            var ending = try count(upTo: min(limit, steps))
            guard steps <= limit, case .exhausted(.steps, _, _) = ending.outcome else { return ending }
            ending.outcome = .snapshotTaken(order.name)
            return ending
        case .address(let address): return try step(to: address, upTo: limit, order)
        }
    }

    /// By single steps and not by a hardware breakpoint, which would take the debug registers from the guest.
    private func step(
        to address: UInt64, upTo limit: UInt64, _ order: SnapshotOrder
    ) throws(KVMError) -> Ending {
        var ending = try count(upTo: 0)
        var taken: UInt64 = 0
        while case .exhausted(.steps, _, _) = ending.outcome {
            if try place(of: ending) == address {
                ending.outcome = .snapshotTaken(order.name)
                return ending
            }
            guard taken < limit else { return try count(upTo: limit) }
            ending = try count(upTo: taken + 1)
            taken = ending.steps ?? limit
        }
        return ending
    }

    /// The linear address of the guest's next instruction. Where a meter has the registers, the code segment begins at 0.
    private func place(of ending: Ending) throws(KVMError) -> UInt64 {
        if let registers = ending.registers { return registers.rip }
        return try machine.current.vcpu.executionPoint().linearAddress
    }

    // MARK: Keeping

    /// A guest whose memory is larger than what may be kept has used up its memory.
    func checkSnapshot(_ ending: inout Ending) throws(KVMError) {
        guard let snapshotOrder, case .snapshotTaken = ending.outcome else { return }
        let occupied = machine.vm.memory.occupiedBytes
        guard occupied > snapshotOrder.terms.byteLimit else { return }
        ending.outcome = .exhausted(.memory, limit: snapshotOrder.terms.byteLimit, used: occupied)
    }

    /// Leaves the machine's state with the job's control, if the job got to its point. The last thing that is done with the machine.
    func keepSnapshot(of ending: Ending) throws(KVMError) {
        guard case .snapshotTaken = ending.outcome else { return }
        control.keep(
            Snapshot(
                StartingPoint(
                    mode: machine.mode, processor: .kept(try processor(at: ending)),
                    memory: PristineMemory(of: machine.vm.memory), board: board.settings, program: keptProgram),
                isDeterministic: machine.kind.isDeterministic))
    }

    /// The process at the end, if the job is a program's.
    private var keptProgram: ProgramStart? {
        guard let programStart, let programLoop else { return nil }
        return programLoop.start(like: programStart)
    }

    /// The vCPU as the guest has it: without what a step meter put between two of its instructions.
    private func processor(at ending: Ending) throws(KVMError) -> VCPUState {
        var state = try machine.current.vcpu.capture()
        if machine.mode == .user64 {
            var system = state.system
            if system.cs.attributes.dpl == 0 {
                // In a stub of the machine's own, by the meter's trap.
                let frame = ExceptionFrame(registers: state.registers, system: system)
                frame.restoreSegments(in: &system, from: machine.vm.memory)
                state.system = system
            }
            if ending.registers != nil { state.forgetDebugException() }
            clearRing0Stack()
        }
        if let programLoop { state.system = try programLoop.systemRegisters() }
        if let registers = ending.registers { state.registers = registers }
        state.forgetLastException()
        // It goes on from there in each deterministic job, as far as the backend lets it.
        if machine.kind.isDeterministic { state.modelSpecific[Machine.MSR.timeStampCounter] = 0 }
        return state
    }

    /// What the meter's traps have left there; no exception of the program's own has come to it.
    private func clearRing0Stack() {
        let frame = [UInt8](repeating: 0, count: ExceptionFrame.largest)
        _ = machine.vm.memory.write(frame, at: SystemArea.ring0StackTop - UInt64(frame.count))
    }
}
