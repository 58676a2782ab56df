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
}

/// Who runs next: a pure state machine that knows jobs by key, slots by number, and nothing else.
///
/// First come, first served. Each key goes through queued, running and gone; its owner tells when a run has ended.
public struct Scheduler: Sendable {
    /// The most jobs that wait when the owner names no other bound.
    public static let defaultQueueLimit = 16_384
    /// The most bytes of images that wait when the owner names no other bound: 1 GiB.
    public static let defaultWaitingBytesLimit = 1 << 30

    private enum State: Sendable {
        case queued(bytes: Int)
        case running(slot: Int)
        case stopping(slot: Int)
    }

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
        self.queueLimit = queueLimit
        self.waitingBytesLimit = waitingBytesLimit
        freeSlots = (0..<slots).reversed()
    }

    /// Jobs that wait.
    public var queuedCount: Int { queue.count }
    /// Jobs that have a slot.
    public var runningCount: Int { jobs.count - queue.count }
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

    /// The job's run is over and its slot is free.
    public mutating func finished(_ job: JobKey) -> [SchedulerAction] {
        switch jobs.removeValue(forKey: job) {
        case .running(let slot), .stopping(let slot): freeSlots.append(slot)
        case .queued, nil: preconditionFailure("only a running job can finish")
        }
        return fill()
    }

    /// Stops a job, queued or running. Does nothing for one that has ended or is stopping.
    public mutating func cancel(_ job: JobKey, by canceller: Canceller) -> [SchedulerAction] {
        switch jobs[job] {
        case .queued(let bytes):
            jobs[job] = nil
            waitingBytes -= bytes
            queue.removeAll { $0 == job }
            return [.abandon(job, canceller)]
        case .running(let slot):
            jobs[job] = .stopping(slot: slot)
            return [.stop(job, canceller)]
        case .stopping, nil: return []
        }
    }

    /// Takes no more jobs; those accepted go on.
    public mutating func drain() { isDraining = true }

    /// Stops every job that is left.
    public mutating func cancelAll(by canceller: Canceller) -> [SchedulerAction] {
        let waiting = queue
        (queue, waitingBytes) = ([], 0)
        for job in waiting { jobs[job] = nil }
        let running = jobs.keys.sorted().flatMap { cancel($0, by: canceller) }
        return running + waiting.map { .abandon($0, canceller) }
    }

    private mutating func fill() -> [SchedulerAction] {
        var actions: [SchedulerAction] = []
        while let slot = freeSlots.last, let job = queue.popFirst() {
            freeSlots.removeLast()
            if case .queued(let bytes)? = jobs[job] { waitingBytes -= bytes }
            jobs[job] = .running(slot: slot)
            actions.append(.start(job, slot: slot))
        }
        return actions
    }
}
