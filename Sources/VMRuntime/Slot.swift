// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
public import GuestImage
public import JobModel
internal import KVM
internal import NIOConcurrencyHelpers

/// A job that has been admitted: its layout is decided, and it only needs a machine.
public struct AdmittedJob: Sendable {
    /// What goes where in guest memory, and how the vCPU starts.
    public let layout: GuestLayout
    /// What the job may use.
    public let budget: Budget
    /// How its steps are counted.
    let plan: MeterPlan
    /// Whether writes to unclaimed ports are streamed.
    public let reportsPortWrites: Bool

    /// Decides an image's layout and checks that this backend can run it.
    public init(image: [UInt8], spec: JobSpec, on profile: BackendProfile) throws(Refusal) {
        layout = try GuestLayout(flat: image, spec: spec)
        if let refusal = profile.refusal(of: spec) { throw refusal }
        budget = spec.budget
        plan = profile.plan(for: spec)
        reportsPortWrites = spec.reportsPortWrites
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
    /// - Parameter emit: called on the slot's thread, in order, with ``JobEvent/finished(_:)`` last and exactly once.
    public func start(_ job: AdmittedJob, control: JobControl, emit: @escaping @Sendable (JobEvent) -> Void) {
        deliver(.run(Order(job: job, control: control, emit: emit)))
    }

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
            }
        }
    }

    /// The result is sent before the machine goes away, which takes as long as a short job.
    private func run(_ order: Order, on thread: Result<VCPUThread, KVMError>) {
        do throws(KVMError) {
            let machine = try Machine(
                order.job.layout, on: backend.hypervisor,
                countsEmulation: order.job.plan.countsEmulation(on: backend.profile),
                logsWrites: order.job.plan.logsWrites)
            let execution = Execution(
                machine, budget: order.job.budget, reportsPortWrites: order.job.reportsPortWrites,
                plan: order.job.plan, control: order.control, thread: try thread.get(), backend: backend.profile,
                emit: order.emit)
            order.emit(.finished(execution.run()))
        } catch {
            order.emit(.finished(JobResult(outcome: .hostError(error.description))))
        }
    }
}
