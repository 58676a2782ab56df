// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
public import JobModel
internal import KVM

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
    /// How many vCPUs it has, and whether they take turns.
    let vcpus: VCPUPlan

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
        guard spec.vcpus == 1, spec.turn == nil else {
            throw Refusal(
                .invalidField, "a job from a snapshot has one vCPU, as the snapshot has: leave the others out")
        }
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
        kind = Self.kind(start, spec, plan: plan, on: profile, reusesMachine: reusesMachine)
        inquiry = Inquiry(spec)
        vcpus = VCPUPlan(count: spec.vcpus, turn: spec.turn)
        snapshotOrder = spec.snapshot.flatMap { point in keeping.map { SnapshotOrder(point: point, terms: $0) } }
    }

    private static func kind(
        _ start: StartingPoint, _ spec: JobSpec, plan: MeterPlan, on profile: BackendProfile, reusesMachine: Bool
    ) -> MachineKind {
        guard spec.board == .bare else {
            var kind = MachineKind(
                memoryBytes: start.memory.bytes, hardware: PCHardware(romBytes: UInt64(start.rom.count)), plan: plan,
                budget: spec.budget, on: profile)
            kind.vcpus = spec.vcpus
            return kind
        }
        var kind = MachineKind(
            memoryBytes: start.memory.bytes, mode: start.mode, plan: plan, budget: spec.budget,
            isDeterministic: spec.isDeterministic, on: profile)
        kind.coalescesConsole = MachineKind.coalescesConsole(
            of: spec, plan: plan, reusesMachine: reusesMachine && spec.vcpus == 1, on: profile)
        if spec.vcpus > 1 { (kind.vcpus, kind.translations, kind.restore) = (spec.vcpus, .unneeded, .giveBack) }
        return kind
    }
}

/// A place to run: one thread that runs one virtual machine at a time, and keeps some for later jobs.
///
/// The thread is a serial Dispatch queue whose one block lasts as long as the slot does. A block for each job would change
/// threads between jobs, and with them the timer and the signal mask that stopping a guest needs; a global or concurrent queue
/// would stop starting blocks after a handful that do not return.
///
/// Between two jobs of the usual kind, uncounted and with little output, nothing is allocated on this thread.
public final class Slot: Sendable {
    private let queue: ReadyQueue

    /// Starts the slot's thread, which serves this queue beside others.
    ///
    /// - Parameter keeping: shared by all slots of a worker.
    public convenience init(number: Int, serving queue: ReadyQueue, keeping: MachineKeeping = MachineKeeping()) {
        self.init(number: number, serving: queue, keeping: keeping) { kind throws(KVMError) in
            try Machine(kind, on: queue.backend.hypervisor)
        }
    }

    /// Starts the slot's thread, which serves a queue of its own.
    public convenience init(number: Int, backend: Backend, keeping: MachineKeeping = MachineKeeping()) {
        self.init(number: number, serving: ReadyQueue(backend: backend), keeping: keeping)
    }

    /// The same with machines that are made in another way.
    convenience init(number: Int, backend: Backend, keeping: MachineKeeping, make: @escaping MachinePool.Make) {
        self.init(number: number, serving: ReadyQueue(backend: backend), keeping: keeping, make: make)
    }

    private init(number: Int, serving queue: ReadyQueue, keeping: MachineKeeping, make: @escaping MachinePool.Make) {
        self.queue = queue
        let ready = DispatchSemaphore(value: 0)
        DispatchQueue(label: "kvmjob.slot-\(number)").async {
            let thread = Result<VCPUThread, KVMError> { () throws(KVMError) in try VCPUThread() }
            ready.signal()
            Self.serve(queue, on: thread, keeping, make)
        }
        // The worker's sandbox closes behind its last slot, and the thread has something to open.
        ready.wait()
    }

    /// ``ReadyQueue/start(_:for:control:emit:)``
    public func start(
        _ job: AdmittedJob, for tenant: UInt32? = nil, control: JobControl, emit: @escaping @Sendable (JobEvent) -> Void
    ) {
        queue.start(job, for: tenant, control: control, emit: emit)
    }

    /// ``ReadyQueue/resume(_:steps:)``
    public func resume(_ control: JobControl, steps: UInt64) { queue.resume(control, steps: steps) }

    /// Ends the thread of one slot that serves the same queue, after what has been started; its machines are destroyed elsewhere.
    ///
    /// - Parameter whenDone: called on that thread, at its end.
    public func stop(whenDone: @escaping @Sendable () -> Void = {}) { queue.stopOne(whenDone: whenDone) }

    private static func serve(
        _ queue: ReadyQueue, on thread: Result<VCPUThread, KVMError>, _ keeping: MachineKeeping,
        _ make: @escaping MachinePool.Make
    ) {
        var pool = MachinePool(keeping, make: make)
        while true {
            switch nextOrder(queue, keeping, &pool) {
            case .stop(let whenDone):
                pool.close()
                return whenDone()
            case .run(let order): putBack(run(order, on: thread, &pool), &pool)
            case .resume(let control, let steps): putBack(resume(control, steps: steps, on: thread), &pool)
            }
        }
    }

    /// Waits for it. Meanwhile the machines give back what they hold for nothing, a little at once and more later; then the thread
    /// sleeps.
    private static func nextOrder(
        _ queue: ReadyQueue, _ keeping: MachineKeeping, _ pool: inout MachinePool
    ) -> ReadyQueue.Order {
        if pool.count > 0 {
            if let order = queue.next(within: keeping.trimDelay) { return order }
            pool.trim()
            if let order = queue.next(within: keeping.shrinkDelay) { return order }
            pool.shrink(to: 1)
        }
        return queue.next()
    }

    /// The job's result has been sent by now, and nothing else refers to its machine.
    private static func putBack(_ machine: consuming Machine?, _ pool: inout MachinePool) {
        if let machine { pool.putBack(machine) }
    }

    /// Returns the machine if it is free again.
    private static func run(
        _ order: ReadyQueue.Run, on thread: Result<VCPUThread, KVMError>, _ pool: inout MachinePool
    ) -> Machine? {
        guard let execution = order.execution.take() else { return nil }
        do throws(KVMError) {
            let machine = try preparedMachine(for: order, &pool)
            return leave(execution, execution.run(in: machine, on: try thread.get()))
        } catch {
            order.emit(.finished(JobResult(outcome: .hostError(error.description))))
            return nil
        }
    }

    /// A machine that cannot be brought to the job's start is no fault of the job's: it goes, and the next one is a new one.
    private static func preparedMachine(
        for order: ReadyQueue.Run, _ pool: inout MachinePool
    ) throws(KVMError) -> Machine {
        let machine = try pool.take(order.job.kind, for: order.tenant)
        if (try? machine.prepare(order.job.start)) != nil { return machine }
        pool.putBack(consume machine)
        let successor = try pool.take(order.job.kind, for: order.tenant)
        do throws(KVMError) {
            try successor.prepare(order.job.start)
            return successor
        } catch {
            pool.putBack(consume successor)
            throw error
        }
    }

    /// Returns the machine if it is free again.
    private static func resume(
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
    private static func leave(_ execution: Execution, _ departure: Execution.Departure) -> Machine? {
        switch departure {
        case .ended(let result):
            execution.emit(.finished(result))
            return execution.machine
        case .paused(let pause):
            let emit = execution.emit
            execution.control.keep(execution)
            emit(.paused(pause))
            return nil
        }
    }
}
