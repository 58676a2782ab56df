// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import DequeModule
internal import Dispatch
internal import Glibc
public import JobModel
internal import KVM
internal import NIOConcurrencyHelpers

/// Jobs that wait for a slot: one line for all slots that serve it. Whoever puts a job there says where it goes.
///
/// Everything that a job needs is allocated here, on the caller's thread, so that the slot's thread has nothing left to do but run
/// it. All calls may come from any thread; none blocks but a slot's own.
public final class ReadyQueue: Sendable {
    /// What a slot is to do next.
    enum Order: Sendable {
        case run(Run)
        case resume(JobControl, steps: UInt64)
        case stop(whenDone: @Sendable () -> Void)
    }

    /// A job on its way to a slot. Its execution is nobody's until a slot takes it.
    struct Run: Sendable {
        let job: AdmittedJob
        let tenant: UInt32?
        let control: JobControl
        let execution: Handover<Execution>
        let emit: @Sendable (JobEvent) -> Void
    }

    let backend: Backend
    private let spin: UInt64
    private let orders = NIOLockedValueBox<Deque<Order>>([])
    /// Counts the orders; also, until a slot has woken for nothing, those that were withdrawn.
    private let delivered = DispatchSemaphore(value: 0)

    /// An empty line.
    ///
    /// - Parameter spin: for how long an idle slot polls before it sleeps. It yields to every other thread meanwhile.
    public init(backend: Backend, spin: Duration = .zero) {
        self.backend = backend
        self.spin = spin.wholeNanoseconds
    }

    /// How many jobs wait.
    public var count: Int { orders.withLockedValue { $0.count } }

    /// Lets a slot run a job as soon as one is free.
    ///
    /// - Parameters:
    ///   - tenant: the user that it belongs to, if that is known; counts where users do not share machines.
    ///   - other: the job that it goes before; first of all if a slot has taken that one, and last where none is named.
    ///   - emit: called on the thread of the slot that the job is in, in order, with ``JobEvent/finished(_:)`` last and exactly
    ///     once. After ``JobEvent/paused(_:)`` the slot is free and nothing follows until ``resume(_:steps:)`` or
    ///     ``JobControl/endPaused()``; the slot keeps no time, so how long the machine is kept is for the owner to say and to do.
    public func start(
        _ job: AdmittedJob, for tenant: UInt32? = nil, control: JobControl, before other: JobControl? = nil,
        emit: @escaping @Sendable (JobEvent) -> Void
    ) {
        let execution = Execution(job, control: control, backend: backend.profile, emit: emit)
        put(
            .run(Run(job: job, tenant: tenant, control: control, execution: Handover(execution), emit: emit)),
            before: other)
    }

    /// Lets a paused job go on, for this many steps more, as soon as a slot is free.
    ///
    /// It may have been paused in any slot of the same backend. Does nothing for a job that is not paused.
    public func resume(_ control: JobControl, steps: UInt64) { put(.resume(control, steps: steps)) }

    /// Takes back a job that no slot has taken yet. Returns false for any other: its events come, or have come, as usual.
    public func withdraw(_ control: JobControl) -> Bool {
        orders.withLockedValue { orders in
            guard let place = Self.place(of: control, in: orders) else { return false }
            orders.remove(at: place)
            return true
        }
    }

    /// Ends one slot's thread behind all that was put here before.
    func stopOne(whenDone: @escaping @Sendable () -> Void) { put(.stop(whenDone: whenDone)) }

    private func put(_ order: Order, before other: JobControl? = nil) {
        orders.withLockedValue { orders in
            guard let other else { return orders.append(order) }
            orders.insert(order, at: Self.place(of: other, in: orders) ?? 0)
        }
        delivered.signal()
    }

    private static func place(of control: JobControl, in orders: Deque<Order>) -> Int? {
        orders.firstIndex { if case .run(let run) = $0 { run.control === control } else { false } }
    }

    /// What is next. Blocks the slot's thread until there is something.
    func next() -> Order {
        while true {
            if !poll() { delivered.wait() }
            if let order = first() { return order }
        }
    }

    /// What is next, or nil when nothing comes for so long. Blocks the slot's thread until then.
    func next(within time: Duration) -> Order? {
        while poll() || delivered.wait(timeout: .now() + .nanoseconds(Int(clamping: time.wholeNanoseconds))) == .success
        {
            if let order = first() { return order }
        }
        return nil
    }

    private func first() -> Order? { orders.withLockedValue { $0.popFirst() } }

    /// Returns false if nothing came in the time that a slot may poll for.
    private func poll() -> Bool {
        guard spin > 0 else { return false }
        let end = MonotonicClock.now + spin
        while delivered.wait(timeout: .now()) == .timedOut {
            guard MonotonicClock.now < end else { return false }
            sched_yield()
        }
        return true
    }
}
