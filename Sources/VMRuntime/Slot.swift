// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
public import JobModel
internal import KVM
internal import NIOConcurrencyHelpers

/// A job that has been admitted: what it starts from is decided, and it only needs a machine.
public struct AdmittedJob: Sendable {
    /// What its machine has to be when it starts.
    let start: StartingPoint
    /// The machine that it needs.
    let kind: MachineKind
    /// What the job may use.
    public let budget: Budget
    /// How its steps are counted.
    let plan: MeterPlan
    /// Whether writes to unclaimed ports are streamed.
    public let reportsPortWrites: Bool
    /// Whether the job is paused, not ended, when its steps are used up.
    public let pauses: Bool
    /// What else is told.
    let inquiry: Inquiry

    /// Where it ends to be kept, if it is of that kind.
    let snapshotOrder: SnapshotOrder?

    /// Decides an image's layout and checks that this backend can run it.
    ///
    /// - Parameters:
    ///   - keeping: what the job's snapshot is called and how large it may be; needed where the spec asks for one.
    ///   - reusesMachine: whether the job's machine will be kept for further jobs.
    public init(
        image: [UInt8], spec: JobSpec, keeping: SnapshotTerms? = nil, on profile: BackendProfile,
        reusesMachine: Bool = false
    ) throws(Refusal) {
        try self.init(
            StartingPoint(image: image, spec: spec), spec: spec, keeping: keeping, on: profile,
            reusesMachine: reusesMachine)
    }

    /// Starts where a snapshot was taken; what the spec says of the start means nothing. Checks that this backend can run it.
    public init(
        from snapshot: Snapshot, spec: JobSpec, on profile: BackendProfile, reusesMachine: Bool = false
    ) throws(Refusal) {
        try self.init(
            snapshot.start, spec: spec.starting(from: snapshot), on: profile, reusesMachine: reusesMachine)
    }

    /// Checks that this backend can run a job that starts so. Of the spec, what says where it starts is not looked at again.
    public init(
        _ start: StartingPoint, spec: JobSpec, keeping: SnapshotTerms? = nil, on profile: BackendProfile,
        reusesMachine: Bool = false
    ) throws(Refusal) {
        if let refusal = profile.refusal(of: spec) { throw refusal }
        try MemoryDump.check(spec.dumps, memoryBytes: start.memory.bytes)
        budget = spec.budget
        plan = profile.plan(for: spec)
        reportsPortWrites = spec.reportsPortWrites
        pauses = spec.pausesWhenStepsRunOut
        self.start = start
        var kind = MachineKind(
            memoryBytes: start.memory.bytes, plan: plan, budget: budget, isDeterministic: spec.isDeterministic,
            on: profile)
        kind.coalescesConsole = MachineKind.coalescesConsole(
            of: spec, plan: plan, reusesMachine: reusesMachine, on: profile)
        self.kind = kind
        inquiry = Inquiry(spec)
        snapshotOrder = spec.snapshot.flatMap { point in keeping.map { SnapshotOrder(point: point, terms: $0) } }
    }
}

/// A place to run: one thread that runs one virtual machine at a time, and keeps some for later jobs.
///
/// The thread is a serial Dispatch queue whose one block lasts as long as the slot does. A block for each job would change
/// threads between jobs, and with them the timer and the signal mask that stopping a guest needs; a global or concurrent queue
/// would stop starting blocks after a handful that do not return.
public final class Slot: Sendable {
    private struct Order: Sendable {
        let job: AdmittedJob
        let tenant: UInt32?
        let control: JobControl
        let emit: @Sendable (JobEvent) -> Void
    }

    private enum Mail: Sendable {
        case run(Order)
        case resume(JobControl, steps: UInt64)
        case stop(whenDone: @Sendable () -> Void)
    }

    private let mailbox = NIOLockedValueBox<[Mail]>([])
    private let delivered = DispatchSemaphore(value: 0)
    private let backend: Backend
    private let keeping: MachineKeeping
    private let make: MachinePool.Make

    /// Starts the slot's thread.
    ///
    /// - Parameter keeping: shared by all slots of a worker.
    public convenience init(number: Int, backend: Backend, keeping: MachineKeeping = MachineKeeping()) {
        self.init(number: number, backend: backend, keeping: keeping) { kind throws(KVMError) in
            try Machine(kind, on: backend.hypervisor)
        }
    }

    /// The same with machines that are made in another way.
    init(number: Int, backend: Backend, keeping: MachineKeeping, make: @escaping MachinePool.Make) {
        (self.backend, self.keeping, self.make) = (backend, keeping, make)
        DispatchQueue(label: "kvmjob.slot-\(number)").async { [self] in loop() }
    }

    /// Runs a job as soon as the one before it is done. Does not block.
    ///
    /// - Parameters:
    ///   - tenant: the user that it belongs to, if that is known; counts where users do not share machines.
    ///   - emit: called on the thread of the slot that the job is in, in order, with ``JobEvent/finished(_:)`` last and exactly
    ///     once. After ``JobEvent/paused(_:)`` the slot is free and nothing follows until ``resume(_:steps:)`` or
    ///     ``JobControl/endPaused()``; the slot keeps no time, so how long the machine is kept is for the owner to say and to do.
    public func start(
        _ job: AdmittedJob, for tenant: UInt32? = nil, control: JobControl, emit: @escaping @Sendable (JobEvent) -> Void
    ) {
        deliver(.run(Order(job: job, tenant: tenant, control: control, emit: emit)))
    }

    /// Lets a paused job go on in this slot, for this many steps more, as soon as the job before it is done. Does not block.
    ///
    /// It may have been paused in any slot of the same backend. Does nothing for a job that is not paused.
    public func resume(_ control: JobControl, steps: UInt64) { deliver(.resume(control, steps: steps)) }

    /// Ends the slot's thread after what has been started; its machines are destroyed elsewhere.
    ///
    /// - Parameter whenDone: called on the slot's thread, at its end.
    public func stop(whenDone: @escaping @Sendable () -> Void = {}) { deliver(.stop(whenDone: whenDone)) }

    private func deliver(_ mail: Mail) {
        mailbox.withLockedValue { $0.append(mail) }
        delivered.signal()
    }

    private func loop() {
        let thread = Result<VCPUThread, KVMError> { () throws(KVMError) in try VCPUThread() }
        var pool = MachinePool(keeping, make: make)
        while true {
            waitForMail(&pool)
            switch mailbox.withLockedValue({ $0.removeFirst() }) {
            case .stop(let whenDone):
                pool.close()
                return whenDone()
            case .run(let order): putBack(run(order, on: thread, &pool), &pool)
            case .resume(let control, let steps): putBack(resume(control, steps: steps, on: thread), &pool)
            }
        }
    }

    /// Meanwhile the machines give back what they hold for nothing, a little at once and more later; then the thread sleeps.
    private func waitForMail(_ pool: inout MachinePool) {
        if pool.count > 0 {
            if wait(for: keeping.trimDelay) { return }
            pool.trim()
            if wait(for: keeping.shrinkDelay) { return }
            pool.shrink(to: 1)
        }
        delivered.wait()
    }

    /// Returns false when nothing came for so long.
    private func wait(for time: Duration) -> Bool {
        delivered.wait(timeout: .now() + .nanoseconds(Int(time.wholeNanoseconds))) == .success
    }

    /// The job's result has been sent by now, and nothing else refers to its machine.
    private func putBack(_ machine: consuming Machine?, _ pool: inout MachinePool) {
        if let machine { pool.putBack(machine) }
    }

    /// Returns the machine if it is free again.
    private func run(
        _ order: Order, on thread: Result<VCPUThread, KVMError>, _ pool: inout MachinePool
    ) -> Machine? {
        do throws(KVMError) {
            let machine = try pool.take(order.job.kind, for: order.tenant)
            try machine.prepare(order.job.start)
            let execution = Execution(
                machine, board: order.job.start.board, budget: order.job.budget,
                reportsPortWrites: order.job.reportsPortWrites, plan: order.job.plan, pauses: order.job.pauses,
                inquiry: order.job.inquiry, snapshotOrder: order.job.snapshotOrder, control: order.control,
                thread: try thread.get(), backend: backend.profile, emit: order.emit)
            return leave(execution, execution.run())
        } catch {
            order.emit(.finished(JobResult(outcome: .hostError(error.description))))
            return nil
        }
    }

    /// Returns the machine if it is free again.
    private func resume(
        _ control: JobControl, steps: UInt64, on thread: Result<VCPUThread, KVMError>
    ) -> Machine? {
        guard let execution = control.takePaused() else { return nil }
        do throws(KVMError) {
            return leave(execution, execution.resume(steps: steps, on: try thread.get()))
        } catch {
            execution.emit(.finished(execution.fail(error)))
            return nil
        }
    }

    /// A paused job is given away with its machine before anybody is told, so that whoever is told finds it.
    private func leave(_ execution: Execution, _ departure: Execution.Departure) -> Machine? {
        let emit = execution.emit
        switch departure {
        case .ended(let result):
            emit(.finished(result))
            return execution.machine
        case .paused(let pause):
            execution.control.keep(execution)
            emit(.paused(pause))
            return nil
        }
    }
}
