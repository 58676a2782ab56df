// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import DequeModule
public import JobModel

/// What a ``Scheduler`` is told of a job.
public struct JobRequest: Sendable, Hashable {
    /// Whose it is.
    public var tenant: Tenant
    /// Its place among the same tenant's: ``JobPriority``.
    public var priority: UInt8
    /// What it keeps in memory while it waits.
    public var holding: Holding
    /// Bytes of host memory that it may take when it runs.
    public var memoryBytes: UInt64
    /// How many slots it takes, all at once, at least 1. More than one makes it a wide job.
    public var slots: Int

    /// A job of a tenant's.
    public init(
        tenant: Tenant, priority: UInt8 = JobPriority.normal, holding: Holding = Holding(bytes: 0),
        memoryBytes: UInt64 = 0, slots: Int = 1
    ) {
        precondition(slots > 0)
        (self.tenant, self.priority, self.holding, self.memoryBytes) = (tenant, priority, holding, memoryBytes)
        self.slots = slots
    }
}

/// Who runs next: a pure state machine that knows jobs by key, tenants by name, and nothing else.
///
/// Each key goes through queued, running and gone; its owner tells when a slot has begun a job and when a run has ended. All
/// instants are nanoseconds of one monotonic clock. A job that is paused leaves its slot without having ended. When it is extended
/// it goes to the end of its tenant's queue, whatever the queue's limits, which it has passed before.
///
/// **Fairness.** The tenant goes next that has had the least slot time, measured as jobs run and not as they were announced. One
/// that comes back starts level with the one that has had the least: nobody saves up slot time by staying away. Among a tenant's own
/// jobs the higher priority goes first. A job that would have more memory admitted than there is waits at the head of all, so that
/// small ones cannot keep it from starting for ever; one that only its own tenant's limits hold back holds up nobody else.
///
/// **The line.** The slots take jobs from one line, so that any free slot serves whoever is next. Some jobs more than there are free
/// slots are in that line already, ahead of their turn: a slot that ends a job has its next one without asking. Such a job still
/// waits, in every count, and its place is lost to nobody: a cancel takes it out again, and who has had less goes in before it. A
/// tenant has one such job, or more where its jobs are short.
///
/// **Wide jobs.** A job may take several slots: all of them at once, or none. It is given to the slots when as many are free, waits
/// for that at the head of all as one that lacks memory does, and pays for each slot. It runs in one slot and leaves the others of its
/// own idle; so, while the slots have a wide job, none goes ahead of its turn, which an idle slot would begin.
public struct Scheduler: Sendable {
    /// A tenant's jobs ahead take no longer together than this for each slot, as far as its last ones tell: 2 ms.
    public static let aheadTime: UInt64 = 2_000_000

    enum State: Sendable {
        case queued
        /// Given to the slots, and not begun.
        case handed
        case running(since: UInt64)
        /// Told to stop while it was handed or running; since then it has run, if it has begun.
        case stopping(Canceller, since: UInt64?)
        case paused
        /// Paused and extended.
        case requeued
        /// Paused, and told to end.
        case ending
    }

    struct Job: Sendable {
        let account: Int
        let priority: UInt8
        let memoryBytes: UInt64
        let slots: Int
        /// Until it has begun.
        var holding: Holding?
        var state: State

        var waits: Bool {
            switch state {
            case .queued, .requeued: true
            case .handed, .running, .stopping, .paused, .ending: false
            }
        }
    }

    let limits: SchedulerLimits
    var jobs: [JobKey: Job] = [:]
    var accounts: [TenantAccount] = []
    var places: [Tenant: Int] = [:]
    /// Those that the slots have and have not begun, in their order.
    var line: Deque<JobKey> = []
    /// What all jobs keep in memory that no slot has begun.
    var waiting = WaitingBytes()
    /// Jobs that wait and that the slots do not have.
    var lineCount = 0
    /// Jobs that have been begun.
    var begunCount = 0
    /// The slots of those that have been begun, and of those that have not.
    var begunSlots = 0, lineSlots = 0
    /// Wide jobs that the slots have.
    var wideCount = 0
    /// Bytes of host memory that the jobs may take which the slots have.
    public internal(set) var memoryBytes: UInt64 = 0
    /// As much slot time as the active tenant had that had the least; it never falls.
    var floor: UInt64 = 0
    var clock: UInt64 = 0
    var meanTime: UInt64?
    var isDraining = false

    /// A scheduler with all slots free.
    public init(limits: SchedulerLimits) { self.limits = limits }

    // MARK: Counts

    /// Jobs that wait.
    public var queuedCount: Int { lineCount + line.count - aboutToBegin(of: line.count) }
    /// Jobs that run, or are about to: a slot is free for them.
    public var runningCount: Int { begunCount + aboutToBegin(of: line.count) }
    /// Jobs that the slots have.
    public var handedCount: Int { line.count + begunCount }
    /// Jobs that are paused, those that are about to end included.
    public var pausedCount: Int { jobs.count - queuedCount - runningCount }
    /// Whether no job is left.
    public var isIdle: Bool { jobs.isEmpty }
    /// Slots that the jobs have, those included which they will have in their turn.
    public var handedSlots: Int { begunSlots + lineSlots }

    /// Whether so many slots are free for a job that comes now.
    func hasFree(_ slots: Int) -> Bool { handedSlots <= limits.slots - slots }

    /// Of so many jobs that the slots have and have not begun, those for which one is free. Nobody is ahead of his turn beside a wide
    /// job.
    private func aboutToBegin(of count: Int) -> Int {
        wideCount > 0 ? count : min(count, max(0, limits.slots - begunSlots))
    }

    /// What a tenant has now.
    public struct Standing: Sendable, Hashable {
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        public var queued = 0, running = 0, paused = 0
        /// Bytes of host memory that its jobs may take which the slots have.
        public var memoryBytes: UInt64 = 0
        /// Bytes that its jobs keep in memory while they wait.
        public var waitingBytes = 0
        /// Nanoseconds that its running jobs have had their slots.
        public var runningNanoseconds: UInt64 = 0
    }

    /// What a tenant has now; nothing of one that is not known.
    ///
    /// - Parameter now: needed for the time alone.
    public func standing(of tenant: Tenant, at now: UInt64 = 0) -> Standing {
        guard let place = places[tenant] else { return Standing() }
        let account = accounts[place]
        let soon = aboutToBegin(of: account.aheadCount)
        return Standing(
            queued: account.queuedCount - soon, running: account.runningCount + soon, paused: account.pausedCount,
            memoryBytes: account.memoryBytes, waitingBytes: account.waiting.total,
            runningNanoseconds: account.runningTime(at: max(clock, now)))
    }

    /// Tenants that have jobs.
    public var tenants: [Tenant] { accounts.lazy.filter { $0.isActive || $0.pausedCount > 0 }.map(\.tenant) }

    // MARK: Submission

    /// Takes a job, or says why not. On return it is known how many jobs are likely to start before it, 0 if it is next, and how many
    /// nanoseconds that may take.
    ///
    /// - Parameter arriving: bytes of the tenant's that are on their way to the worker.
    public mutating func submit(
        _ key: JobKey, _ request: JobRequest, arriving: Int = 0, at now: UInt64
    ) throws(Refusal) -> (position: Int, waitNanoseconds: UInt64?, actions: [SchedulerAction]) {
        precondition(jobs[key] == nil, "a key names one job")
        clock = max(clock, now)
        try check(request)
        try checkRoom(for: request.tenant, holding: request.holding, arriving: arriving, slots: request.slots)
        let place = activePlace(of: request.tenant)
        let (position, wait) = prospect(of: request, place)
        jobs[key] = Job(
            account: place, priority: request.priority, memoryBytes: request.memoryBytes, slots: request.slots,
            holding: request.holding, state: .queued)
        accounts[place].waiting.add(request.holding)
        waiting.add(request.holding)
        join(key)
        return (position, wait, fill())
    }

    /// Says why a job that would keep this in memory is not taken now. To be asked before much is made for a job: then none is taken,
    /// whatever it keeps.
    public func checkRoom(
        for tenant: Tenant, holding: Holding = Holding(bytes: 1), arriving: Int = 0, slots: Int = 1
    ) throws(Refusal) {
        guard !isDraining else {
            throw Refusal(.draining, "the worker is shutting down", retryNanoseconds: Self.longRetry)
        }
        // What can start at once does not wait, so that bounds of 0 still let jobs run.
        guard !hasFree(slots) || lineCount > 0 else { return }
        try checkQueues(of: tenant)
        try checkBytes(of: tenant, holding, arriving)
    }

    private func checkQueues(of tenant: Tenant) throws(Refusal) {
        let own = standing(of: tenant).queued
        guard own < limits.tenant.queuedJobs else {
            throw Refusal(
                .tenantLimit, "\(own) jobs of this user wait already, as many as may: try again when some have started",
                limit: UInt64(limits.tenant.queuedJobs), value: UInt64(own) + 1, limitName: "tenant-queued-jobs",
                retryNanoseconds: retryTime(of: tenant))
        }
        guard queuedCount < limits.queuedJobs else {
            throw Refusal(
                .queueFull, "\(queuedCount) jobs wait already, as many as may: try again later",
                limit: UInt64(limits.queuedJobs), value: UInt64(queuedCount) + 1, limitName: "queued-jobs",
                retryNanoseconds: retryTime(of: tenant))
        }
    }

    private func checkBytes(of tenant: Tenant, _ holding: Holding, _ arriving: Int) throws(Refusal) {
        let own = places[tenant].map { accounts[$0].waiting } ?? WaitingBytes()
        let use = own.total + arriving + own.increase(by: holding)
        guard use <= limits.tenant.bytesInFlight else {
            throw Refusal(
                .tenantLimit, "this user's jobs that wait would hold \(use) bytes: try again when some have started",
                limit: UInt64(limits.tenant.bytesInFlight), value: UInt64(use), limitName: "tenant-bytes-in-flight",
                retryNanoseconds: retryTime(of: tenant))
        }
        let total = waiting.total + waiting.increase(by: holding)
        guard total <= limits.waitingBytes else {
            throw Refusal(
                .queueFull, "the jobs that wait would hold \(total) bytes: try again later",
                limit: UInt64(limits.waitingBytes), value: UInt64(total), limitName: "bytes-in-flight",
                retryNanoseconds: retryTime(of: tenant))
        }
    }

    /// Says why a job could not even run alone: it would wait for ever.
    public func check(_ request: JobRequest) throws(Refusal) {
        try checkMemory(request)
        try checkWidth(request)
    }

    private func checkWidth(_ request: JobRequest) throws(Refusal) {
        let bounds = [(limits.slots, "slots"), (limits.tenant.runningJobs, "tenant-running-jobs")]
        for (limit, name) in bounds where request.slots > limit && request.slots > 1 {
            throw Refusal(
                .invalidField,
                "the job takes \(request.slots) slots at once, one for each vCPU, and no more than \(limit) can be had",
                limit: UInt64(max(0, limit)), value: UInt64(request.slots), limitName: name)
        }
    }

    private func checkMemory(_ request: JobRequest) throws(Refusal) {
        let bounds = [(limits.memoryBytes, "memory"), (limits.tenant.memoryBytes, "tenant-memory")]
        for (limit, name) in bounds where request.memoryBytes > limit {
            throw Refusal(
                .memorySize,
                "the job may take \(request.memoryBytes) bytes of memory, and no more than \(limit) can be had",
                limit: limit, value: request.memoryBytes, limitName: name)
        }
    }

    // MARK: Runs

    /// A slot has begun the job. Means nothing for one that goes on after a pause, which counts since it was handed to a free slot.
    public mutating func began(_ key: JobKey, at now: UInt64) -> [SchedulerAction] {
        clock = max(clock, now)
        guard let job = jobs[key] else { return [] }
        switch job.state {
        case .handed: jobs[key]?.state = .running(since: now)
        case .stopping(let canceller, since: nil): jobs[key]?.state = .stopping(canceller, since: now)
        case .queued, .running, .stopping, .paused, .requeued, .ending: return []
        }
        leaveLine(key, job)
        stopHolding(key)
        begin(job, at: now)
        return fill()
    }

    mutating func begin(_ job: Job, at now: UInt64) {
        begunCount += 1
        begunSlots += job.slots
        accounts[job.account].begin(at: now, slots: job.slots)
    }

    /// The job's run is over and its slots, if it had any, are free.
    public mutating func finished(_ key: JobKey, at now: UInt64) -> [SchedulerAction] {
        clock = max(clock, now)
        guard let job = jobs[key] else { preconditionFailure("a job finishes once") }
        switch job.state {
        case .running(let since), .stopping(_, let since?): leaveSlot(job, since)
        case .handed, .stopping(_, nil):
            leaveLine(key, job)
            giveBack(job)
        case .ending: accounts[job.account].pausedCount -= 1
        case .queued, .paused, .requeued:
            preconditionFailure("only a job that the slots have or was told to end can finish")
        }
        forget(key)
        return fill()
    }

    /// The job is gone.
    mutating func forget(_ key: JobKey) {
        guard let job = jobs[key] else { return }
        stopHolding(key)
        jobs[key] = nil
        if !accounts[job.account].isActive { raiseFloor(leaving: job.account) }
    }

    private mutating func leaveSlot(_ job: Job, _ since: UInt64) {
        begunCount -= 1
        begunSlots -= job.slots
        accounts[job.account].leave(begunAt: since, at: clock, slots: job.slots)
        meanTime = Self.mean(meanTime, clock - min(since, clock))
        giveBack(job)
    }

    /// What it had been given with its slots.
    private mutating func giveBack(_ job: Job) {
        if job.slots > 1 { wideCount -= 1 }
        memoryBytes -= job.memoryBytes
        accounts[job.account].memoryBytes -= job.memoryBytes
    }

    private mutating func leaveLine(_ key: JobKey, _ job: Job) {
        if line.first == key { line.removeFirst() } else { line.removeAll { $0 == key } }
        lineSlots -= job.slots
        accounts[job.account].leaveLine(slots: job.slots)
    }

    mutating func stopHolding(_ key: JobKey) {
        guard let job = jobs[key], let holding = job.holding else { return }
        jobs[key]?.holding = nil
        waiting.remove(holding)
        accounts[job.account].waiting.remove(holding)
    }

    // MARK: Pauses

    /// The job has used up its steps, and its machine is kept: its slot is free.
    ///
    /// A job that was told to stop in the meantime ends here, and so does every job of a worker that drains, which nobody may
    /// wait for.
    public mutating func paused(_ key: JobKey, at now: UInt64) -> [SchedulerAction] {
        clock = max(clock, now)
        var actions: [SchedulerAction] = []
        guard let job = jobs[key] else { preconditionFailure("only a job that is there can be paused") }
        switch job.state {
        case .running(let since):
            jobs[key]?.state = .paused
            leaveForPause(job, since)
            if isDraining { actions = end(key) }
        case .stopping(let canceller, let since?):
            jobs[key]?.state = .ending
            leaveForPause(job, since)
            actions = [.end(key, canceller)]
        case .queued, .handed, .stopping, .paused, .requeued, .ending:
            preconditionFailure("only a running job can be paused")
        }
        return actions + fill()
    }

    private mutating func leaveForPause(_ job: Job, _ since: UInt64) {
        leaveSlot(job, since)
        accounts[job.account].pausedCount += 1
        if !accounts[job.account].isActive { raiseFloor(leaving: job.account) }
    }

    /// Whether the job is paused and can be extended.
    public func isPaused(_ key: JobKey) -> Bool {
        if case .paused? = jobs[key]?.state { true } else { false }
    }

    /// The job has more steps, and waits for a slot again. Does nothing for one that is not paused any more.
    public mutating func extended(_ key: JobKey, at now: UInt64) -> [SchedulerAction] {
        clock = max(clock, now)
        guard isPaused(key), let job = jobs[key] else { return [] }
        let place = activePlace(of: accounts[job.account].tenant)
        accounts[place].pausedCount -= 1
        jobs[key]?.state = .requeued
        join(key)
        return fill()
    }

    /// The job gets no more steps. Does nothing for one that is not paused any more.
    public mutating func end(_ key: JobKey) -> [SchedulerAction] {
        guard isPaused(key) else { return [] }
        jobs[key]?.state = .ending
        return [.end(key, nil)]
    }
}
