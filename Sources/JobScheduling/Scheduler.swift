// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import DequeModule
public import JobModel

/// A job's name inside the worker: unique for the worker's life, whatever number its connection gave it.
public struct JobKey: Sendable, Hashable, Comparable {
    /// Counts up from 1 in the order of submission.
    public let number: UInt64

    /// A key by number.
    public init(_ number: UInt64) { self.number = number }

    /// The order of submission.
    public static func < (left: JobKey, right: JobKey) -> Bool { left.number < right.number }
}

/// What the owner of a ``Scheduler`` has to do next, in the order of the list.
public enum SchedulerAction: Sendable, Hashable {
    /// Give the job to the slots: one of them takes it as soon as it is free.
    case start(JobKey)
    /// Stop the job, which the slots have. If none of them has taken it yet it has ended before it started; otherwise its result
    /// comes as usual.
    case stop(JobKey, Canceller)
    /// The job has ended before it started.
    case abandon(JobKey, Canceller)
    /// Run the job, which was paused and has more steps now, on in a slot: one is free.
    case resume(JobKey)
    /// End the job, which is paused: as cancelled, or without a canceller for want of steps. Its result comes as usual.
    case end(JobKey, Canceller?)
}

/// Who runs next: a pure state machine that knows jobs by key, slots by their number, and nothing else.
///
/// First come, first served. Each key goes through queued, running and gone; its owner tells when a run has ended. A job that is
/// paused leaves its slot without having ended. When it is extended it goes to the end of the queue, whatever the queue's limits,
/// which it has passed before.
///
/// The slots take jobs from one line, so that any free slot serves whoever is next. A few jobs more than there are free slots are
/// in that line already, ahead of their turn: a slot that ends a job has its next one without asking. Such a job still waits, in
/// every count, and its place is lost to nobody: a cancel takes it out again.
public struct Scheduler: Sendable {
    /// The most jobs that wait when the owner names no other bound.
    public static let defaultQueueLimit = 16_384
    /// The most bytes that jobs which wait keep in memory when the owner names no other bound: 1 GiB.
    public static let defaultWaitingBytesLimit = 1 << 30

    private enum State: Sendable {
        case queued(Holding)
        /// Given to the slots before one was free.
        case ahead(Holding)
        case running
        case stopping(Canceller)
        case paused
        /// Paused and extended.
        case requeued
        /// Paused, and told to end.
        case ending
    }

    private let slots: Int
    private let aheadLimit: Int
    private let queueLimit: Int
    private let waitingBytesLimit: Int
    private var jobs: [JobKey: State] = [:]
    private var queue: Deque<JobKey> = []
    /// Those ahead of their turn, in the order in which the slots take them.
    private var ahead: Deque<JobKey> = []
    /// Jobs that have a slot, or will have it without waiting.
    public private(set) var runningCount = 0
    private var waiting = WaitingBytes()
    private var isDraining = false

    /// A scheduler for this many slots, all free.
    ///
    /// - Parameter ahead: the most jobs that the slots are given beyond those that run.
    public init(
        slots: Int, ahead: Int = 0, queueLimit: Int = Scheduler.defaultQueueLimit,
        waitingBytesLimit: Int = Scheduler.defaultWaitingBytesLimit
    ) {
        precondition(slots > 0 && ahead >= 0)
        self.slots = slots
        aheadLimit = ahead
        self.queueLimit = queueLimit
        self.waitingBytesLimit = waitingBytesLimit
    }

    /// Jobs that wait.
    public var queuedCount: Int { queue.count + ahead.count }
    /// Jobs that are paused, those that are about to end included.
    public var pausedCount: Int { jobs.count - queuedCount - runningCount }
    /// Whether no job is left.
    public var isIdle: Bool { jobs.isEmpty }

    private var hasFreeSlot: Bool { runningCount < slots }

    /// Takes a job, or says why not. On return its place in the queue is known: 0 if nothing waits before it.
    ///
    /// - Parameter holding: what the job keeps in memory while it waits.
    public mutating func submit(
        _ job: JobKey, holding: Holding
    ) throws(Refusal) -> (position: Int, actions: [SchedulerAction]) {
        precondition(jobs[job] == nil, "a key names one job")
        try checkRoom(for: waiting.increase(by: holding))
        let position = queuedCount
        jobs[job] = .queued(holding)
        queue.append(job)
        waiting.add(holding)
        return (position, fill())
    }

    /// Says why a job that would keep so many bytes more in memory is not taken now. To be asked with the default before much is
    /// made for a job: then none is taken, whatever it keeps.
    public func checkRoom(for bytes: Int = 1) throws(Refusal) {
        guard !isDraining else { throw Refusal(.draining, "the worker is shutting down") }
        let position = queuedCount
        guard hasFreeSlot || position < queueLimit else {
            throw Refusal(
                .queueFull, "\(position) jobs wait already, as many as may: try again later",
                limit: UInt64(queueLimit), value: UInt64(position))
        }
        guard hasFreeSlot || waiting.total + bytes <= waitingBytesLimit else {
            throw Refusal(
                .queueFull,
                "the jobs that wait hold \(waiting.total) bytes, and this one's \(bytes) are too many: try again later",
                limit: UInt64(waitingBytesLimit), value: UInt64(waiting.total + bytes))
        }
    }

    /// The job's run is over and its slot, if it had one, is free.
    public mutating func finished(_ job: JobKey) -> [SchedulerAction] {
        switch jobs.removeValue(forKey: job) {
        case .running, .stopping: leaveSlot(job)
        case .ending: break
        case .queued, .ahead, .paused, .requeued, nil:
            preconditionFailure("only a job that runs or was told to end can finish")
        }
        return fill()
    }

    /// The job's slot takes the one that has been ahead for longest. A job that was stopped while it was ahead had no slot.
    private mutating func leaveSlot(_ job: JobKey) {
        if let place = ahead.firstIndex(of: job) {
            ahead.remove(at: place)
            return
        }
        runningCount -= 1
        guard let next = ahead.popFirst() else { return }
        runningCount += 1
        guard case .ahead(let holding)? = jobs[next] else { return }
        waiting.remove(holding)
        jobs[next] = .running
    }

    // MARK: Pauses

    /// The job has used up its steps, and its machine is kept: its slot is free.
    ///
    /// A job that was told to stop in the meantime ends here, and so does every job of a worker that drains, which nobody may
    /// wait for.
    public mutating func paused(_ job: JobKey) -> [SchedulerAction] {
        var actions: [SchedulerAction] = []
        switch jobs[job] {
        case .running:
            leaveSlot(job)
            jobs[job] = .paused
            if isDraining { actions = end(job) }
        case .stopping(let canceller):
            leaveSlot(job)
            jobs[job] = .ending
            actions = [.end(job, canceller)]
        case .queued, .ahead, .paused, .requeued, .ending, nil: preconditionFailure("only a running job can be paused")
        }
        return actions + fill()
    }

    /// Whether the job is paused and can be extended.
    public func isPaused(_ job: JobKey) -> Bool {
        if case .paused? = jobs[job] { true } else { false }
    }

    /// The job has more steps, and waits for a slot again. Does nothing for one that is not paused any more.
    public mutating func extended(_ job: JobKey) -> [SchedulerAction] {
        guard isPaused(job) else { return [] }
        jobs[job] = .requeued
        queue.append(job)
        return fill()
    }

    /// The job gets no more steps. Does nothing for one that is not paused any more.
    public mutating func end(_ job: JobKey) -> [SchedulerAction] {
        guard isPaused(job) else { return [] }
        jobs[job] = .ending
        return [.end(job, nil)]
    }

    // MARK: Ends

    /// Stops a job, queued, running or paused. Does nothing for one that has ended or is stopping.
    public mutating func cancel(_ job: JobKey, by canceller: Canceller) -> [SchedulerAction] {
        switch jobs[job] {
        case .queued(let holding):
            jobs[job] = nil
            waiting.remove(holding)
            queue.removeAll { $0 == job }
            return [.abandon(job, canceller)]
        case .ahead(let holding):
            waiting.remove(holding)
            fallthrough
        case .running:
            jobs[job] = .stopping(canceller)
            return [.stop(job, canceller)]
        case .requeued:
            queue.removeAll { $0 == job }
            fallthrough
        case .paused:
            jobs[job] = .ending
            return [.end(job, canceller)]
        case .stopping, .ending, nil: return []
        }
    }

    /// Takes no more jobs; those accepted go on, but for the paused ones, which end.
    public mutating func drain() -> [SchedulerAction] {
        isDraining = true
        return jobs.keys.sorted().flatMap { end($0) }
    }

    /// Stops every job that is left.
    public mutating func cancelAll(by canceller: Canceller) -> [SchedulerAction] {
        // Those that never started come last.
        var fresh: [JobKey] = []
        for job in queue {
            guard case .queued(let holding)? = jobs[job] else { continue }
            waiting.remove(holding)
            jobs[job] = nil
            fresh.append(job)
        }
        queue = []
        // Those ahead go first, the last of them before all, so that no slot takes one as it is stopped.
        let next = ahead.reversed().flatMap { cancel($0, by: canceller) }
        let started = jobs.keys.sorted().flatMap { cancel($0, by: canceller) }
        return next + started + fresh.map { .abandon($0, canceller) }
    }

    private mutating func fill() -> [SchedulerAction] {
        var actions: [SchedulerAction] = []
        while let job = queue.first, let action = hand(job) {
            queue.removeFirst()
            actions.append(action)
        }
        return actions
    }

    /// Gives the first job of the queue to the slots, if there is room. One that goes on after a pause is never ahead: its machine
    /// is on the owner's account until it has a slot.
    private mutating func hand(_ job: JobKey) -> SchedulerAction? {
        switch jobs[job] {
        case .queued(let holding) where hasFreeSlot:
            waiting.remove(holding)
            (runningCount, jobs[job]) = (runningCount + 1, .running)
            return .start(job)
        case .queued(let holding) where ahead.count < aheadLimit:
            ahead.append(job)
            jobs[job] = .ahead(holding)
            return .start(job)
        case .requeued where hasFreeSlot:
            (runningCount, jobs[job]) = (runningCount + 1, .running)
            return .resume(job)
        default: return nil
        }
    }
}
