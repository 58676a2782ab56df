// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import JobModel
internal import KVM

/// Several vCPUs in one job, at once or in turns.
///
/// At once each has a thread: the first one the slot's, every other one a serial Dispatch queue whose one block lasts as long as the
/// vCPU runs. The execution is as single-threaded as ever: a thread is in it only while it holds the ``Baton``, which it lets go of
/// around `KVM_RUN` and nowhere else. So one that waits for output credit keeps the others waiting as soon as they need the host.
///
/// In turns all run on the slot's thread, so many steps each, by number: what they do to one another is the same each time.
extension Execution {
    /// Why and by whom all vCPUs are stopped.
    struct CommonEnd {
        var outcome: Outcome
        /// nil where no vCPU's doing brought it about.
        var seat: VCPUSeat?
    }

    /// Runs all vCPUs until they have halted, or one of them or the worker ends the job.
    func runAll() throws(KVMError) -> Ending {
        for seat in machine.seats { (seat.clock, seat.exitLog) = (BudgetWatch(budget.ofOneVCPU), exitLog) }
        if let turn = vcpus.turn { runInTurns(of: turn) } else { runAtOnce() }
        return try sumUp()
    }

    private func runAtOnce() {
        let baton = Baton(self)
        self.baton = baton
        // The queues' blocks may live a little longer than the job, and have no part in its machine then.
        defer {
            self.baton = nil
            baton.close()
        }
        let (thread, others) = (self.thread, DispatchGroup())
        for number in 1..<machine.seats.count {
            DispatchQueue(label: "kvmjob.vcpu-\(number)").async(group: others) {
                let thread = Result<VCPUThread, KVMError> { () throws(KVMError) in
                    try VCPUThread(countsInstructions: false)
                }
                baton.hold { $0.run(number, on: thread) }
            }
        }
        baton.hold { $0.run(0, on: .success(thread)) }
        others.wait()
    }

    /// Enters the guest once, by the present vCPU, while others may be in the execution. What it asks for behind the job's end is not
    /// done: nothing is told or counted any more.
    func enter(letting baton: Baton<Execution>) throws(KVMError) -> VMExit {
        let seat = machine.current
        defer { machine.current = seat }
        let exit = try baton.release { () throws(KVMError) in try seat.vcpu.run() }
        guard commonEnd != nil else { return exit }
        machine.current = seat
        leaveUnanswered(exit)
        return .interrupted
    }

    /// Runs one vCPU on the calling thread, to its end or the job's.
    private func run(_ number: Int, on thread: Result<VCPUThread, KVMError>) {
        let seat = machine.seats[number]
        machine.current = seat
        do throws(KVMError) {
            let thread = try thread.get()
            seat.thread = thread
            seat.occupy()
            defer { seat.leave() }
            try thread.setAlarm(by: min(watch.nextLook, seat.clock?.nextLook ?? .max, nextHaltLook))
            note(try runOne(seat, upTo: stepLimit ?? .max), of: seat)
        } catch {
            failure = failure ?? error
            end(.hostError(error.description), by: nil)
        }
    }

    /// The vCPU comes as far as this number of steps, where they are counted, or to its end.
    private func runOne(_ seat: VCPUSeat, upTo stop: UInt64) throws(KVMError) -> Ending {
        if backend.tellsExceptions, seat.number > 0, seat.meter == nil, machine.kind.hardware == nil {
            _ = seat.vcpu.watchExceptions()
        }
        guard plan != .none else { return Ending(outcome: try runFree()) }
        if seat.meter == nil { seat.meter = DebugExitMeter(machine: machine, execution: self, backend: backend) }
        return try seat.meter?.run(limit: stepLimit ?? .max, upTo: stop) ?? Ending(outcome: .halted)
    }

    // MARK: Turns

    private func runInTurns(of turn: UInt64) {
        do throws(KVMError) {
            while commonEnd == nil {
                for seat in machine.seats where seat.ending == nil && commonEnd == nil { try giveTurn(turn, to: seat) }
            }
        } catch {
            failure = error
        }
    }

    private func giveTurn(_ turn: UInt64, to seat: VCPUSeat) throws(KVMError) {
        machine.current = seat
        seat.occupy()
        defer { seat.leave() }
        try thread.setAlarm(by: min(watch.nextLook, seat.clock?.nextLook ?? .max))
        let limit = stepLimit ?? .max
        let stop = (seat.meter?.steps ?? 0).addingReportingOverflow(turn)
        let ending = try runOne(seat, upTo: stop.overflow ? limit : min(limit, stop.partialValue))
        if case .exhausted(.steps, _, let used) = ending.outcome, used < limit, commonEnd == nil { return }
        note(ending, of: seat)
    }

    // MARK: Ends

    /// A vCPU runs no more.
    private func note(_ ending: Ending, of seat: VCPUSeat) {
        seat.ending = ending
        guard commonEnd == nil else { return seat.state = .stopped }
        guard case .halted = ending.outcome, !isReset else {
            let isOwn = ending.outcome.isBroughtAboutByGuest
            seat.state = isOwn ? .ended : .stopped
            return end(ending.outcome, by: isOwn ? seat : nil)
        }
        seat.state = .halted
        // Its thread sends nothing any more, and the others may never leave their guests.
        if let outcome = flush() { return end(outcome, by: nil) }
        if machine.seats.allSatisfy({ $0.state == .halted }) { end(.halted, by: nil) }
    }

    /// Stops all vCPUs: those that run notice when they next leave the guest, and are made to.
    func end(_ outcome: Outcome, by seat: VCPUSeat?) {
        guard commonEnd == nil else { return }
        commonEnd = CommonEnd(outcome: outcome, seat: seat)
        letGo()
        for other in machine.seats where other !== seat { other.vcpu.kicker.kick() }
    }

    /// The job's ending, once no vCPU runs. The machine's present one is then the one that the result is about.
    private func sumUp() throws(KVMError) -> Ending {
        if let failure { throw failure }
        for seat in machine.seats {
            machine.current = seat
            try settlePending()
        }
        try tellWaiting()
        let late = lateProcessorEnd()
        let seat = late?.seat ?? commonEnd?.seat ?? machine.seats[0]
        machine.current = seat
        exitLog = seat.exitLog
        var ending = Ending(outcome: late?.outcome ?? commonEnd?.outcome ?? .hostError("no vCPU came to an end"))
        ending.registers = seat.ending?.registers
        guard plan != .none else { return ending }
        ending.steps = machine.seats.reduce(0) { $0 &+ ($1.meter?.steps ?? 0) }
        ending.meter = vcpus.turn == nil ? .bounded(reason: Self.countedAtOnce) : worstMeter
        return ending
    }

    /// Nobody gets an end out of more processor time than a vCPU may have.
    private func lateProcessorEnd() -> CommonEnd? {
        guard let commonEnd, commonEnd.seat != nil || commonEnd.outcome == .halted else { return nil }
        for seat in machine.seats {
            guard let clock = seat.clock else { continue }
            let outcome = clock.outcome(of: commonEnd.outcome, after: clock.time, touching: nil)
            if outcome != commonEnd.outcome {
                seat.state = .ended
                if let ender = commonEnd.seat, ender !== seat { ender.state = .stopped }
                return CommonEnd(outcome: outcome, seat: seat)
            }
        }
        return nil
    }

    private var worstMeter: Meter {
        let meters = machine.seats.compactMap { $0.ending?.meter }
        return meters.first { if case .bounded = $0 { true } else { false } } ?? .exact
    }

    private static let countedAtOnce = "a vCPU may change what another one, which runs at once, is about to execute"

    // MARK: Results

    /// What the clocks say: of several vCPUs the processor time is the sum.
    var usedTime: BudgetWatch.Time {
        var time = watch.time
        if machine.seats.count > 1 { time.processor = machine.seats.reduce(0) { $0 + $1.processorTime } }
        return time
    }

    /// What is known of each vCPU; nothing where there is only one.
    func processorReports() throws(KVMError) -> [ProcessorReport] {
        guard machine.seats.count > 1 else { return [] }
        let present = machine.current
        defer { machine.current = present }
        var reports: [ProcessorReport] = []
        for seat in machine.seats {
            machine.current = seat
            var report = ProcessorReport(
                state: seat.state ?? .stopped, steps: seat.meter?.steps, cpuNanoseconds: seat.processorTime)
            var standing = JobResult(outcome: .halted)
            var ending = seat.ending ?? Ending(outcome: .halted)
            if report.state != .ended { ending.outcome = .halted }
            try readRegisters(into: &standing, ending)
            report.registers = standing.registers
            digest?.append(report)
            reports.append(report)
        }
        return reports
    }
}

extension Outcome {
    /// Whether a vCPU's own doing brings it about, as opposed to the clock on the wall, to all that the job's memory is, and to
    /// others.
    fileprivate var isBroughtAboutByGuest: Bool {
        switch self {
        case .halted, .exited, .faulted, .tripleFault, .unemulatable, .snapshotTaken: true
        case .exhausted(let kind, _, _): kind != .wallTime && kind != .memory
        case .cancelled, .waitExpired, .hostError: false
        }
    }
}
