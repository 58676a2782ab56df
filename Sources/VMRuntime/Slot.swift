// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import GuestImage
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

    /// Decides an image's layout and checks that this backend can run it.
    public init(image: [UInt8], spec: JobSpec, on profile: BackendProfile) throws(Refusal) {
        let layout = try GuestLayout(flat: image, spec: spec)
        if let refusal = profile.refusal(of: spec) { throw refusal }
        try MemoryDump.check(spec.dumps, memoryBytes: spec.memoryBytes)
        budget = spec.budget
        plan = profile.plan(for: spec)
        reportsPortWrites = spec.reportsPortWrites
        pauses = spec.pausesWhenStepsRunOut
        start = StartingPoint(layout)
        kind = MachineKind(
            memoryBytes: spec.memoryBytes, plan: plan, budget: budget, isDeterministic: spec.isDeterministic,
            on: profile)
        inquiry = Inquiry(spec)
    }
}

/// A place to run: one thread that runs one virtual machine at a time.
///
/// The thread is a serial Dispatch queue whose one block lasts as long as the slot does. A block for each job would change
/// threads between jobs, and with them the timer and the signal mask that stopping a guest needs; a global or concurrent queue
/// would stop starting blocks after a handful that do not return.
///
/// Between two jobs of the usual kind, uncounted and with little output, nothing is allocated on this thread.
public final class Slot: Sendable {
    private let queue: ReadyQueue

    /// Starts the slot's thread, which serves this queue beside others.
    public init(number: Int, serving queue: ReadyQueue) {
        self.queue = queue
        DispatchQueue(label: "kvmjob.slot-\(number)").async { Self.serve(queue) }
    }

    /// Starts the slot's thread, which serves a queue of its own.
    public convenience init(number: Int, backend: Backend) {
        self.init(number: number, serving: ReadyQueue(backend: backend))
    }

    /// ``ReadyQueue/start(_:control:emit:)``
    public func start(_ job: AdmittedJob, control: JobControl, emit: @escaping @Sendable (JobEvent) -> Void) {
        queue.start(job, control: control, emit: emit)
    }

    /// ``ReadyQueue/resume(_:steps:)``
    public func resume(_ control: JobControl, steps: UInt64) { queue.resume(control, steps: steps) }

    /// Ends the thread of one slot that serves the same queue, after what has been started.
    public func stop() { queue.stopOne() }

    private static func serve(_ queue: ReadyQueue) {
        let thread = Result<VCPUThread, KVMError> { () throws(KVMError) in try VCPUThread() }
        while true {
            switch queue.next() {
            case .stop: return
            case .run(let order): run(order, on: thread, queue.backend)
            case .resume(let control, let steps): resume(control, steps: steps, on: thread)
            }
        }
    }

    /// The result is sent before the machine goes away, which takes as long as a short job.
    private static func run(_ order: ReadyQueue.Run, on thread: Result<VCPUThread, KVMError>, _ backend: Backend) {
        guard let execution = order.execution.take() else { return }
        do throws(KVMError) {
            let machine = try Machine(order.job.kind, on: backend.hypervisor)
            try machine.prepare(order.job.start)
            leave(execution, execution.run(in: machine, on: try thread.get()))
        } catch {
            order.emit(.finished(JobResult(outcome: .hostError(error.description))))
        }
    }

    private static func resume(_ control: JobControl, steps: UInt64, on thread: Result<VCPUThread, KVMError>) {
        guard let execution = control.takePaused() else { return }
        do throws(KVMError) {
            leave(execution, execution.resume(steps: steps, on: try thread.get()))
        } catch {
            execution.emit(.finished(execution.fail(error)))
        }
    }

    /// A paused job is given away before anybody is told, so that whoever is told finds it.
    private static func leave(_ execution: Execution, _ departure: Execution.Departure) {
        switch departure {
        case .ended(let result): execution.emit(.finished(result))
        case .paused(let pause):
            let emit = execution.emit
            execution.control.keep(execution)
            emit(.paused(pause))
        }
    }
}
