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
    /// Run the job in this slot, which is free.
    case start(JobKey, slot: Int)
    /// Stop the job, which is running; its result comes as usual.
    case stop(JobKey, Canceller)
    /// The job has ended before it started.
    case abandon(JobKey, Canceller)
    /// Run the job, which was paused and has more steps now, on in this slot, which is free.
    case resume(JobKey, slot: Int)
    /// End the job, which is paused: as cancelled, or without a canceller for want of steps. Its result comes as usual.
    case end(JobKey, Canceller?)
}

/// Who runs next: a pure state machine that knows jobs by key, slots by number, and nothing else.
///
/// First come, first served. Each key goes through queued, running and gone; its owner tells when a run has ended. A job that is
/// paused leaves its slot without having ended. When it is extended it goes to the end of the queue, whatever the queue's limits,
/// which it has passed before.
public struct Scheduler: Sendable {
    /// The most jobs that wait when the owner names no other bound.
    public static let defaultQueueLimit = 16_384
    /// The most bytes of images that wait when the owner names no other bound: 1 GiB.
    public static let defaultWaitingBytesLimit = 1 << 30

    private enum State: Sendable {
        case queued(bytes: Int)
        case running(slot: Int)
        case stopping(slot: Int, Canceller)
        case paused
        /// Paused and extended.
        case requeued
        /// Paused, and told to end.
        case ending
    }

    private let slots: Int
    private let queueLimit: Int
    private let waitingBytesLimit: Int
    private var jobs: [JobKey: State] = [:]
    private var queue: Deque<JobKey> = []
    private var freeSlots: [Int]
    private var waitingBytes = 0
    private var isDraining = false

    /// A scheduler for slots 0 to `slots` - 1, all free.
    public init(
        slots: Int, queueLimit: Int = Scheduler.defaultQueueLimit,
        waitingBytesLimit: Int = Scheduler.defaultWaitingBytesLimit
    ) {
        precondition(slots > 0)
        self.slots = slots
        self.queueLimit = queueLimit
        self.waitingBytesLimit = waitingBytesLimit
        freeSlots = (0..<slots).reversed()
    }

    /// Jobs that wait.
    public var queuedCount: Int { queue.count }
    /// Jobs that have a slot.
    public var runningCount: Int { slots - freeSlots.count }
    /// Jobs that are paused, those that are about to end included.
    public var pausedCount: Int { jobs.count - queue.count - runningCount }
    /// Whether no job is left.
    public var isIdle: Bool { jobs.isEmpty }

    /// Takes a job, or says why not. On return its place in the queue is known: 0 if nothing waits before it.
    ///
    /// - Parameter bytes: what the job holds in memory while it waits.
    public mutating func submit(
        _ job: JobKey, bytes: Int
    ) throws(Refusal) -> (position: Int, actions: [SchedulerAction]) {
        precondition(jobs[job] == nil, "a key names one job")
        guard !isDraining else { throw Refusal(.draining, "the worker is shutting down") }
        guard !freeSlots.isEmpty || queue.count < queueLimit else {
            throw Refusal(
                .queueFull, "\(queue.count) jobs wait already, as many as may: try again later",
                limit: UInt64(queueLimit), value: UInt64(queue.count))
        }
        guard !freeSlots.isEmpty || waitingBytes + bytes <= waitingBytesLimit else {
            throw Refusal(
                .queueFull,
                "the images that wait hold \(waitingBytes) bytes, and this one's \(bytes) are too many: try again later",
                limit: UInt64(waitingBytesLimit), value: UInt64(waitingBytes + bytes))
        }
        let position = queue.count
        jobs[job] = .queued(bytes: bytes)
        queue.append(job)
        waitingBytes += bytes
        return (position, fill())
    }

    /// The job's run is over and its slot, if it had one, is free.
    public mutating func finished(_ job: JobKey) -> [SchedulerAction] {
        switch jobs.removeValue(forKey: job) {
        case .running(let slot), .stopping(let slot, _): freeSlots.append(slot)
        case .ending: break
        case .queued, .paused, .requeued, nil: preconditionFailure("only a job that runs or was told to end can finish")
        }
        return fill()
    }

    // MARK: Pauses

    /// The job has used up its steps, and its machine is kept: its slot is free.
    ///
    /// A job that was told to stop in the meantime ends here, and so does every job of a worker that drains, which nobody may
    /// wait for.
    public mutating func paused(_ job: JobKey) -> [SchedulerAction] {
        var actions: [SchedulerAction] = []
        switch jobs[job] {
        case .running(let slot):
            freeSlots.append(slot)
            jobs[job] = .paused
            if isDraining { actions = end(job) }
        case .stopping(let slot, let canceller):
            freeSlots.append(slot)
            jobs[job] = .ending
            actions = [.end(job, canceller)]
        case .queued, .paused, .requeued, .ending, nil: preconditionFailure("only a running job can be paused")
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
        case .queued(let bytes):
            jobs[job] = nil
            waitingBytes -= bytes
            queue.removeAll { $0 == job }
            return [.abandon(job, canceller)]
        case .running(let slot):
            jobs[job] = .stopping(slot: slot, canceller)
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
        let waiting = queue
        (queue, waitingBytes) = ([], 0)
        // Those that never started come last.
        let fresh = waiting.filter { if case .queued? = jobs[$0] { true } else { false } }
        for job in fresh { jobs[job] = nil }
        let started = jobs.keys.sorted().flatMap { cancel($0, by: canceller) }
        return started + fresh.map { .abandon($0, canceller) }
    }

    private mutating func fill() -> [SchedulerAction] {
        var actions: [SchedulerAction] = []
        while let slot = freeSlots.last, let job = queue.popFirst() {
            freeSlots.removeLast()
            if case .queued(let bytes)? = jobs[job] {
                waitingBytes -= bytes
                actions.append(.start(job, slot: slot))
            } else {
                actions.append(.resume(job, slot: slot))
            }
            jobs[job] = .running(slot: slot)
        }
        return actions
    }
}
