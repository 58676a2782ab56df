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

    /// Decides an image's layout and checks that this backend can run it.
    public init(image: [UInt8], spec: JobSpec, on profile: BackendProfile) throws(Refusal) {
        try self.init(StartingPoint(image: image, spec: spec), spec: spec, on: profile)
    }

    /// Checks that this backend can run a job that starts so. Of the spec, what says where it starts is not looked at again.
    public init(_ start: StartingPoint, spec: JobSpec, on profile: BackendProfile) throws(Refusal) {
        if let refusal = profile.refusal(of: spec) { throw refusal }
        try MemoryDump.check(spec.dumps, memoryBytes: start.memory.bytes)
        budget = spec.budget
        plan = profile.plan(for: spec)
        reportsPortWrites = spec.reportsPortWrites
        pauses = spec.pausesWhenStepsRunOut
        self.start = start
        kind = MachineKind(
            memoryBytes: start.memory.bytes, plan: plan, budget: budget, isDeterministic: spec.isDeterministic,
            on: profile)
        inquiry = Inquiry(spec)
    }
}

/// A place to run: one thread that runs one virtual machine at a time.
///
/// The thread is a serial Dispatch queue whose one block lasts as long as the slot does. A block for each job would change
/// threads between jobs, and with them the timer and the signal mask that stopping a guest needs; a global or concurrent queue
/// would stop starting blocks after a handful that do not return.
public final class Slot: Sendable {
    private struct Order: Sendable {
        let job: AdmittedJob
        let control: JobControl
        let emit: @Sendable (JobEvent) -> Void
    }

    private enum Mail: Sendable {
        case run(Order)
        case resume(JobControl, steps: UInt64)
        case stop
    }

    private let mailbox = NIOLockedValueBox<[Mail]>([])
    private let delivered = DispatchSemaphore(value: 0)
    private let backend: Backend

    /// Starts the slot's thread.
    public init(number: Int, backend: Backend) {
        self.backend = backend
        DispatchQueue(label: "kvmjob.slot-\(number)").async { [self] in loop() }
    }

    /// Runs a job as soon as the one before it is done. Does not block.
    ///
    /// - Parameter emit: called on the thread of the slot that the job is in, in order, with ``JobEvent/finished(_:)`` last and
    ///   exactly once. After ``JobEvent/paused(_:)`` the slot is free and nothing follows until ``resume(_:steps:)`` or
    ///   ``JobControl/endPaused()``; the slot keeps no time, so how long the machine is kept is for the owner to say and to do.
    public func start(_ job: AdmittedJob, control: JobControl, emit: @escaping @Sendable (JobEvent) -> Void) {
        deliver(.run(Order(job: job, control: control, emit: emit)))
    }

    /// Lets a paused job go on in this slot, for this many steps more, as soon as the job before it is done. Does not block.
    ///
    /// It may have been paused in any slot of the same backend. Does nothing for a job that is not paused.
    public func resume(_ control: JobControl, steps: UInt64) { deliver(.resume(control, steps: steps)) }

    /// Ends the slot's thread after what has been started.
    public func stop() { deliver(.stop) }

    private func deliver(_ mail: Mail) {
        mailbox.withLockedValue { $0.append(mail) }
        delivered.signal()
    }

    private func loop() {
        let thread = Result<VCPUThread, KVMError> { () throws(KVMError) in try VCPUThread() }
        while true {
            delivered.wait()
            switch mailbox.withLockedValue({ $0.removeFirst() }) {
            case .stop: return
            case .run(let order): run(order, on: thread)
            case .resume(let control, let steps): resume(control, steps: steps, on: thread)
            }
        }
    }

    /// The result is sent before the machine goes away, which takes as long as a short job.
    private func run(_ order: Order, on thread: Result<VCPUThread, KVMError>) {
        do throws(KVMError) {
            let machine = try Machine(order.job.kind, on: backend.hypervisor)
            try machine.prepare(order.job.start)
            let execution = Execution(
                machine, budget: order.job.budget, reportsPortWrites: order.job.reportsPortWrites,
                plan: order.job.plan, pauses: order.job.pauses, inquiry: order.job.inquiry, control: order.control,
                thread: try thread.get(), backend: backend.profile, emit: order.emit)
            leave(execution, execution.run())
        } catch {
            order.emit(.finished(JobResult(outcome: .hostError(error.description))))
        }
    }

    private func resume(_ control: JobControl, steps: UInt64, on thread: Result<VCPUThread, KVMError>) {
        guard let execution = control.takePaused() else { return }
        do throws(KVMError) {
            leave(execution, execution.resume(steps: steps, on: try thread.get()))
        } catch {
            execution.emit(.finished(execution.fail(error)))
        }
    }

    /// A paused job is given away before anybody is told, so that whoever is told finds it.
    private func leave(_ execution: Execution, _ departure: Execution.Departure) {
        let emit = execution.emit
        switch departure {
        case .ended(let result): emit(.finished(result))
        case .paused(let pause):
            execution.control.keep(execution)
            emit(.paused(pause))
        }
    }
}
