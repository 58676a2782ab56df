// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// One job in one machine, from its first instruction to its result.
///
/// Everything happens on a slot's thread, one at a time: a job that was paused may go on on another. The guest leaves `KVM_RUN` for
/// a device, for the alarm of its deadline, or because somebody kicked it; what each exit means is decided here, and whatever the
/// guest does ends in an ``Outcome``.
final class Execution {
    /// Where it runs, from ``run(in:on:)`` on.
    private var seat: Seat?
    let control: JobControl
    let backend: BackendProfile
    let budget: Budget
    private let reportsPortWrites: Bool
    let plan: MeterPlan
    let pauses: Bool
    let inquiry: Inquiry
    /// Where the job ends to be kept, if it is of that kind.
    let snapshotOrder: SnapshotOrder?
    let emit: (JobEvent) -> Void
    let vcpus: VCPUPlan

    private struct Seat {
        let machine: Machine
        var thread: VCPUThread
    }

    var machine: Machine { taken.machine }
    var thread: VCPUThread {
        get { machine.current.thread ?? taken.thread }
        set { seat?.thread = newValue }
    }

    private var taken: Seat {
        guard let seat else { preconditionFailure("an execution has its machine before anybody asks for it") }
        return seat
    }

    /// Counts the steps, where they are counted; there from the first run on.
    var meter: (any StepMeter)?
    var board: Board
    var output = PendingOutput()
    var outputBytes: UInt64 = 0
    var droppedWrites: UInt64 = 0
    var exits = ExitCounts()
    var exitLog: ExitLog?
    /// There while the job is traced; gone once its end has come while the trace waited for credit.
    var tracer: Tracer?
    var watch: BudgetWatch
    /// When to look again at what the guest writes without an exit; never on a machine where each byte is one.
    var nextConsoleLook = UInt64.max
    /// When to look again whether the guest has halted; never on a machine where each HLT is an exit.
    var nextHaltLook = UInt64.max
    var digest: RunDigest?
    /// The step budget with all that it was extended by.
    var stepLimit: UInt64?
    /// How the job ends if it is not given more, while it is paused.
    var stop: Ending?
    /// What a Linux program is at its start; nil for other guests.
    let programStart: ProgramStart?
    /// There from the first run of a Linux program on.
    var programLoop: ProgramLoop?
    /// There while several vCPUs run at once.
    var baton: Baton<Execution>?
    /// How a job with several vCPUs ends; nil while they run.
    var commonEnd: CommonEnd?
    /// The vCPUs that are held while it is found out whether all wait; nil when nobody asks.
    var held: [VCPUSeat]?
    /// What KVM failed with, of one of several vCPUs.
    var failure: KVMError?
    /// Whether the guest has reset its processor, which ends the job whatever other vCPUs do.
    private(set) var isReset = false

    /// An execution that has not begun. With it comes room for the output of most jobs, so that the slot's thread, where all the
    /// rest happens, need not allocate any.
    convenience init(
        _ job: AdmittedJob, control: JobControl, backend: BackendProfile, emit: @escaping (JobEvent) -> Void
    ) {
        self.init(
            board: job.start.board, budget: job.budget, reportsPortWrites: job.reportsPortWrites, plan: job.plan,
            pauses: job.pauses, inquiry: job.inquiry, snapshotOrder: job.snapshotOrder, program: job.start.program,
            vcpus: job.vcpus, control: control, backend: backend, emit: emit)
    }

    /// - Parameters:
    ///   - board: the devices as the job finds them.
    ///   - pauses: whether the job is paused, not ended, when its steps are used up.
    init(
        board: Board = Board(), budget: Budget, reportsPortWrites: Bool, plan: MeterPlan, pauses: Bool = false,
        inquiry: Inquiry = Inquiry(), snapshotOrder: SnapshotOrder? = nil, program: ProgramStart? = nil,
        vcpus: VCPUPlan = .one, control: JobControl, backend: BackendProfile, emit: @escaping (JobEvent) -> Void
    ) {
        programStart = program
        (self.control, self.backend) = (control, backend)
        (self.budget, self.reportsPortWrites, self.plan, self.emit) = (budget, reportsPortWrites, plan, emit)
        (self.pauses, stepLimit, self.inquiry) = (pauses, budget.steps, inquiry)
        (self.board, self.snapshotOrder, self.vcpus) = (board, snapshotOrder, vcpus)
        exitLog = inquiry.report.contains(.exits) ? ExitLog() : nil
        digest = inquiry.report.contains(.digest) ? RunDigest() : nil
        watch = BudgetWatch(vcpus.count > 1 ? budget.shared : budget)
    }

    /// An execution whose machine and thread are there already: no job of a slot's.
    convenience init(
        _ machine: Machine, board: Board = Board(), budget: Budget, reportsPortWrites: Bool, plan: MeterPlan,
        pauses: Bool = false, inquiry: Inquiry = Inquiry(), snapshotOrder: SnapshotOrder? = nil, control: JobControl,
        thread: VCPUThread, backend: BackendProfile, emit: @escaping (JobEvent) -> Void
    ) {
        self.init(
            board: board, budget: budget, reportsPortWrites: reportsPortWrites, plan: plan, pauses: pauses,
            inquiry: inquiry, snapshotOrder: snapshotOrder, control: control, backend: backend, emit: emit)
        seat = Seat(machine: machine, thread: thread)
    }

    /// How a job leaves its slot.
    enum Departure {
        case ended(JobResult)
        /// The guest is between two instructions, and all its output is sent. ``resume(steps:on:)`` or ``endPaused()`` is next.
        case paused(Pause)
    }

    /// Runs the guest to its end, or until it is paused. Blocks the slot's thread for as long as that takes.
    ///
    /// When KVM fails, the outcome says so, and what the guest had written still arrives.
    func run(in machine: Machine, on thread: VCPUThread) -> Departure {
        seat = Seat(machine: machine, thread: thread)
        return run()
    }

    func run() -> Departure {
        emit(.started)
        if backend.tellsExceptions { _ = machine.current.vcpu.watchExceptions() }
        return runOn()
    }

    func runOn() -> Departure {
        machine.current.vcpu.attach()
        control.attach(machine.current.vcpu.kicker, machine.seats.dropFirst().map { $0.vcpu.kicker })
        watch.start()
        // A guest can see when its input comes. That of a job with an image has come before it.
        if machine.kind.isDeterministic { control.waitForInput(until: watch.deadline) }
        defer {
            control.detach()
            machine.current.vcpu.detach()
        }
        do throws(KVMError) {
            startConsoleLooks()
            startHaltLooks()
            // Only now: an alarm that has been set before, and goes off behind this line, finds the vCPU.
            try thread.setAlarm(by: min(watch.nextLook, nextConsoleLook, nextHaltLook))
            if inquiry.isTraced, tracer == nil { tracer = Tracer(startingWith: try machine.current.vcpu.registers()) }
            var ending = try runToEnd()
            guard let pause = try pause(at: &ending) else { return .ended(try conclude(ending)) }
            watch.stop()
            return .paused(pause)
        } catch {
            return .ended(fail(error))
        }
    }

    /// The job's end, and its machine's: nobody knows what is in it.
    func fail(_ error: KVMError) -> JobResult {
        machine.retire()
        // The guest's last words, unless it is they that failed.
        _ = try? serveConsoleWrites()
        sendRest()
        return result(Ending(outcome: .hostError(error.description)), watch.time)
    }

    private func runToEnd() throws(KVMError) -> Ending {
        if let programStart {
            let loop = ProgramLoop(programStart, self)
            programLoop = loop
            return try loop.run()
        }
        if machine.seats.count > 1 { return try runAll() }
        guard plan != .none else { return Ending(outcome: try runFree()) }
        let limit = stepLimit ?? .max
        if let snapshotOrder { return try count(upTo: limit, stoppingAt: snapshotOrder) }
        return try count(upTo: limit)
    }

    // MARK: The loop

    /// How a run loop ended: why, and after how many steps if they were counted.
    struct Ending {
        var outcome: Outcome
        var steps: UInt64?
        var meter = Meter.none
        /// The registers at the end, where they are not simply those of the vCPU.
        var registers: Registers?
    }

    /// Runs at full speed until something ends the job.
    func runFree() throws(KVMError) -> Outcome {
        if let outcome = interruption() { return outcome }
        while true {
            let exit = try enter()
            switch try serve(exit) {
            case .goOn: continue
            case .end(let outcome, _): return outcome
            }
        }
    }

    func count(upTo limit: UInt64) throws(KVMError) -> Ending {
        if meter == nil { meter = try makeMeter() }
        let ending = try meter?.run(limit: limit)
        return ending
            ?? Ending(outcome: .hostError("steps cannot be counted in \(machine.mode.name) on this machine"))
    }

    /// nil where steps cannot be counted.
    private func makeMeter() throws(KVMError) -> (any StepMeter)? {
        try plan.makeMeter(for: machine, self, on: backend)
    }

    /// Enters the guest once, by the present vCPU.
    func enter() throws(KVMError) -> VMExit {
        guard let baton else { return try machine.current.vcpu.run() }
        return try enter(letting: baton)
    }

    /// Counts one exit. A step meter that finds out about an exit before or after KVM has had it says so here.
    func count(_ exit: VMExit) {
        switch exit {
        case .portIn, .portOut: exits.io += 1
        case .mmioRead, .mmioWrite: exits.mmio += 1
        case .debug: exits.debug += 1
        case .interrupted: exits.interrupted += 1
        case .halt, .shutdown, .failEntry, .internalError, .taskPriorityChanged, .msrRead, .msrWrite, .other:
            exits.other += 1
        }
    }

    // MARK: What an exit means

    /// What to do after an exit has been served.
    enum Verdict {
        case goOn
        /// The job is over; `retired` says whether the instruction that ended it counts as a step.
        case end(Outcome, retired: Bool)
    }

    /// Counts and serves one exit. Afterwards the guest can be entered again, or the job is over.
    func serve(_ exit: VMExit) throws(KVMError) -> Verdict {
        count(exit)
        if let outcome = try serveConsoleWrites() {
            leaveUnanswered(exit)
            return .end(outcome, retired: true)
        }
        var verdict = try answer(exit)
        // Only now: what the guest has written is kept, whatever happens while it waits for credit.
        if case .goOn = verdict, output.isFull, let outcome = flush() { verdict = .end(outcome, retired: true) }
        // An exception's stub is the machine's own: what it writes is no access of the guest's.
        if case .end(.faulted, _) = verdict { return verdict }
        let told = try note(exit)
        guard case .goOn = verdict, let outcome = watch.exhausted(by: exits) ?? told else { return verdict }
        return .end(outcome, retired: true)
    }

    func answer(_ exit: VMExit) throws(KVMError) -> Verdict {
        switch exit {
        case .portIn(let access):
            readPort(access)
            return .goOn
        case .portOut(let access): return try writePort(access)
        case .mmioRead:
            machine.current.vcpu.setMMIOValue(.max)
            return .goOn
        case .mmioWrite:
            droppedWrites += 1
            return .goOn
        case .interrupted: return interruption().map { .end($0, retired: false) } ?? .goOn
        case .msrRead(let number):
            try readRegister(number)
            return .goOn
        case .msrWrite(let number, let value):
            try writeRegister(number, value)
            return .goOn
        case .debug, .taskPriorityChanged: return .goOn
        case .halt: return .end(.halted, retired: true)
        case .shutdown: return .end(.tripleFault, retired: false)
        case .internalError(let suberror, let instruction):
            return .end(try unemulatable(suberror, instruction), retired: false)
        case .failEntry(let reason):
            let text = "the processor refused the guest's state, reason \(reason.hexadecimal)"
            return .end(.hostError(text), retired: false)
        case .other(let reason):
            return .end(.hostError("KVM_RUN ended for a reason that kvmjob does not know: \(reason)"), retired: false)
        }
    }

    /// Serves an exit and all further parts of the same instruction, which is then done, unless the job ends in the middle of it.
    ///
    /// A string instruction can have a part for each of its elements, and settling takes no notice of a kick.
    func complete(_ exit: VMExit) throws(KVMError) -> Verdict {
        var verdict = try serve(exit)
        guard exit.needsCompletion else { return verdict }
        while case .goOn = verdict {
            guard let next = try machine.current.vcpu.settle(), next.needsCompletion else { return verdict }
            verdict = try serve(next)
            if case .goOn = verdict, machine.current.vcpu.takeKick(), let outcome = interruption() {
                return .end(outcome, retired: false)
            }
        }
        if case .end(_, retired: true) = verdict { try settlePending() }
        return verdict
    }

    private func readPort(_ access: PortAccess) {
        if Uart16550.ports.contains(access.port) { refillInput() }
        for index in 0..<access.count {
            machine.current.vcpu.setPortValue(board.read(access.port, size: access.size), at: index, of: access)
        }
    }

    private func writePort(_ access: PortAccess) throws(KVMError) -> Verdict {
        if machine.mode == .user64, access.port == SystemArea.trapPort,
            try machine.current.vcpu.executionPoint().privilege == 0
        {
            return .end(.faulted(try machine.exceptionFrame().decode(from: machine.vm.memory).fault), retired: false)
        }
        for index in 0..<access.count {
            let value = machine.current.vcpu.portValue(at: index, of: access)
            let effect = board.write(access.port, size: access.size, value: value)
            if let outcome = perform(effect) { return .end(outcome, retired: true) }
        }
        return .goOn
    }

    /// Does what a port write asks for. Returns the job's end where it brings that about.
    func perform(_ effect: Board.Effect) -> Outcome? {
        switch effect {
        case .none: nil
        case .console(let byte): append(CollectionOfOne(byte), to: .console)
        case .consoleBytes(let bytes): append(bytes, to: .console)
        case .exit(let code): .exited(code: code)
        case .ready: readyOutcome
        case .reset: reset()
        case .unclaimed(let write): reportsPortWrites ? append(write.record, to: .portWrites) : nil
        }
    }

    private func reset() -> Outcome {
        isReset = true
        return .halted
    }

    private func unemulatable(_ suberror: UInt32, _ reported: [UInt8]) throws(KVMError) -> Outcome {
        // KVM_INTERNAL_ERROR_EMULATION, _SIMUL_EX and _DELIVERY_EV: a guest can bring about each of them.
        guard (1...3).contains(suberror) else {
            return .hostError("KVM_EXIT_INTERNAL_ERROR with suberror \(suberror)")
        }
        let point = try machine.current.vcpu.executionPoint()
        let bytes = reported.isEmpty ? try machine.instruction(at: point).prefix(15) : reported
        return .unemulatable(Unemulatable(rip: point.rip, bytes: bytes))
    }

    // MARK: Limits

    /// Why the job must end now, if it must. Also sends output that has waited long enough.
    func interruption() -> Outcome? {
        _ = machine.current.vcpu.takeKick()
        if let commonEnd { return commonEnd.outcome }
        if let canceller = control.canceller { return .cancelled(by: canceller) }
        let now = MonotonicClock.now
        if let outcome = watch.look(at: now, machine.vm.memory) ?? lookForHalt(at: now) { return outcome }
        if let outcome = machine.current.clock?.look(at: now, machine.vm.memory) { return outcome }
        if isOutputDue(at: now) { return flush() }
        setAlarm(at: output.dueAt)
        return nil
    }

    /// When a budget asks for it, or earlier. A failure is as good as none: the timer exists, and its argument is right.
    private func setAlarm(at instant: UInt64? = nil) {
        let own = machine.current.clock?.nextLook ?? .max
        try? thread.setAlarm(by: min(instant ?? .max, watch.nextLook, own, nextConsoleLook, nextHaltLook))
    }

    /// When the present slice ends, if the meter runs the guest in slices. Behind it the alarm is set anew.
    var sliceEnd: UInt64? {
        didSet { try? thread.setAlarm(at: min(sliceEnd ?? .max, output.dueAt ?? .max, watch.nextLook)) }
    }

    // MARK: Streams

    /// Keeps what is told of the guest until it is sent. It is none of the guest's own output, and no budget bounds it.
    func tell(_ bytes: [UInt8], on channel: OutputChannel) {
        if output.append(bytes, to: channel), let due = output.dueAt { setAlarm(at: due) }
    }

    /// Keeps what the guest wrote until it is sent. Returns the job's end where that is more than its budget has room for.
    func append(_ bytes: some Collection<UInt8>, to channel: OutputChannel) -> Outcome? {
        let room = watch.takeOutput(bytes.count, isDivisible: channel == .console)
        digest?.append(bytes.prefix(room), to: channel)
        if room > 0, output.append(bytes.prefix(room), to: channel), let due = output.dueAt, due < nextConsoleLook {
            setAlarm(at: due)
        }
        return room < bytes.count ? watch.outputExhausted : nil
    }

    /// Sends what is waiting, as the client's credit allows; without credit the guest waits here, at most until its deadline.
    func flush() -> Outcome? {
        while !output.isEmpty {
            let credit = control.takeCredit(upTo: output.count)
            if credit > 0 {
                send(credit)
                continue
            }
            if let canceller = control.canceller { return .cancelled(by: canceller) }
            if let outcome = watch.wallTimeExhausted(at: MonotonicClock.now) { return outcome }
            control.waitForChange(until: watch.deadline)
        }
        setAlarm()
        return nil
    }

    func send(_ count: Int) {
        var left = count
        while left > 0, let (channel, bytes) = output.take(upTo: left) {
            left -= bytes.count
            if channel == .console { outputBytes += UInt64(bytes.count) }
            emit(.output(channel, bytes))
        }
    }

    private func refillInput() {
        guard board.uart.wantsInput else { return }
        reportConsumed()
        let (bytes, ended) = control.takeInput()
        board.uart.refill(bytes, ended: ended)
    }

    func reportConsumed() {
        guard board.uart.consumed > 0 else { return }
        emit(.inputConsumed(board.uart.consumed))
        board.uart.consumed = 0
    }
}
