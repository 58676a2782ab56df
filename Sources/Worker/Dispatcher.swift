// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc
internal import JobModel
internal import JobProtocol
internal import JobScheduling
internal import JobTransport
internal import KVM
internal import NIOCore
internal import VMRuntime

/// Where connections, the scheduler and the slots meet. Confined to the event loop: plain state, no locks.
///
/// A job's events come from its slot's thread in order; everything else happens here between two of them.
final class Dispatcher {
    let log: WorkerLog
    let terms: WorkerTerms
    private let eventLoop: any EventLoop
    let backend: Backend
    let limits: WorkerLimits
    let keeping: MachineKeeping
    private let ready: ReadyQueue
    private let slots: [Slot]
    private let events: EventQueue
    /// The events that are being looked at.
    private var batch: [EventQueue.Entry] = []
    private var isLookDue = false
    /// Connections with bytes that leave at the end of what is going on now, or with the next look.
    private var unflushed: [Connection] = []
    private var isGathering = false
    /// What the slots are to do, in its order, while that is held back.
    private var heldStarts: [SchedulerAction]?
    /// There if the loop polls before it sleeps.
    private var poller: LoopPoller?
    var scheduler: Scheduler
    /// What tenants have and have had.
    private(set) var ledger = TenantLedger()
    /// All jobs, to be listed.
    private(set) var roster = JobRoster()
    /// What has happened.
    var counters = WorkerCounters()
    let operators: Set<UInt32>
    /// What the worker's process has given up.
    var confinement: Confinement = []
    /// Begins a drain when an operator asks for it; nil where nobody may.
    var drainHandler: (@Sendable () -> Void)?
    let startedAt = MonotonicClock.now
    private var kept: KeptMachines<ObjectIdentifier>
    /// What may be submitted again.
    var known: KnownImages
    /// What jobs may start from.
    var snapshots: SnapshotStore<Snapshot>
    /// Jobs that clients have handed over; nil where none are kept.
    private(set) var detached: DetachedJobs?
    private(set) var jobs: [JobKey: ActiveJob] = [:]
    private var connections: [ObjectIdentifier: Connection] = [:]
    private var lastKey = JobKey(0)
    private var finishedCount: UInt64 = 0
    private var failedCount: UInt64 = 0
    private var uploadBytes: UInt64 = 0
    private var idleSince: ContinuousClock.Instant? = .now
    private(set) var isDraining = false
    private var slotsEnd = SlotsEnd.notYet
    private var whenDrained: [EventLoopPromise<Void>] = []

    /// Nobody waits for longer, whatever a client says: a year, in nanoseconds. A clock can add so much without an overflow.
    static let longestWait: UInt64 = 365 * 24 * 3600 * 1_000_000_000
    /// With fewer jobs than this ready for each slot, ends of jobs are told at once: it takes a few jobs' time until clients have
    /// read of them and sent more.
    static let jobsReadyPerSlot = 8
    /// How long events of jobs wait, at most, while others come all the time: 500 us. Many then cost as much as one.
    static let lookInterval = TimeAmount.microseconds(500)

    init(configuration: WorkerConfiguration, backend: Backend, eventLoop: any EventLoop, log: WorkerLog) {
        (self.log, self.eventLoop, self.backend) = (log, eventLoop, backend)
        limits = configuration.limits
        keeping = MachineKeeping(
            policy: configuration.machines, machinesPerSlot: limits.keptMachinesPerSlot,
            memoryBytesPerSlot: limits.keptMemoryBytes / UInt64(configuration.slots))
        let ready = ReadyQueue(backend: backend, spin: configuration.spin)
        self.ready = ready
        slots = (0..<configuration.slots).map { [keeping] in Slot(number: $0, serving: ready, keeping: keeping) }
        scheduler = Scheduler(limits: limits.ofScheduler(slots: configuration.slots))
        operators = configuration.operators.union([0, geteuid()])
        kept = KeptMachines(
            limits: .init(
                machines: limits.pausedJobs, machinesPerOwner: limits.pausedJobsPerConnection,
                memoryBytes: limits.pausedMemoryBytes))
        known = KnownImages(limits: limits)
        snapshots = SnapshotStore(limits: .init(bytes: limits.snapshotBytes, count: limits.snapshots))
        terms = WorkerTerms(
            jobLimit: limits.jobsPerConnection, imageLimit: limits.largestImage, memoryMaximum: limits.largestGuest,
            wallMaximum: limits.wallTime, slots: UInt32(configuration.slots), modes: backend.profile.offers,
            software: configuration.software)
        let reader = EventReader()
        let bound = NIOLoopBound(reader, eventLoop: eventLoop)
        let look: @Sendable () -> Void = { bound.value.dispatcher?.lookAtEvents() }
        events = EventQueue { eventLoop.execute(look) }
        reader.dispatcher = self
        detached = configuration.keeper.map {
            DetachedJobs($0, limits: limits.detached, of: self, on: eventLoop)
        }
        lastKey = JobKey(configuration.keeper?.highestID ?? 0)
        detached?.recover()
        guard configuration.spin > .zero else { return }
        poller = LoopPoller(eventLoop, for: configuration.spin) { [weak self] in self?.lookAtEvents() }
    }

    /// What the event queue calls, so that it does not keep the dispatcher.
    private final class EventReader {
        weak var dispatcher: Dispatcher?
    }

    deinit { slots.forEach { $0.stop() } }

    // MARK: Connections

    /// Why one more connection of this peer's is not served: the limit and its name. Nil if it may be.
    func refusal(of peer: Peer) -> (limit: Int, name: String)? {
        if connections.count >= limits.connections { return (limits.connections, "connections") }
        let most = limits.tenant.connections
        return ledger[peer.owner].connections >= most ? (most, "tenant-connections") : nil
    }

    func add(_ connection: Connection) {
        connections[ObjectIdentifier(connection)] = connection
        ledger.makeRoom()
        ledger[connection.peer.owner].connections += 1
        counters.connectionsServed += 1
        idleSince = nil
        connection.open()
        if isDraining { connection.goAway(.drain) }
    }

    /// Tells a client that there is no room for it, and closes its connection.
    func turnAway(_ channel: any Channel, peer: Peer, for limit: (limit: Int, name: String)) {
        counters.connectionsRefused += 1
        log.connectionFailed("as many connections are open as may be: \(limit.name) is \(limit.limit)", peer: peer)
        let notice = ServerSession.tooManyConnections(limit: limit.limit, name: limit.name)
        // On the next turn of the loop the channel is active and can be written to.
        channel.eventLoop.assumeIsolated().execute {
            channel.writeAndFlush(channel.allocator.buffer(bytes: notice)).assumeIsolated().whenComplete { _ in
                channel.close(promise: nil)
            }
        }
    }

    func remove(_ connection: Connection) {
        guard connections.removeValue(forKey: ObjectIdentifier(connection)) != nil else { return }
        connection.closed()
        ledger[connection.peer.owner].connections -= 1
        noteProgress()
    }

    /// Bytes that images on their way may still announce, over all connections.
    var uploadRoom: UInt64 { UInt64(limits.uploadBytes) - min(uploadBytes, UInt64(limits.uploadBytes)) }

    /// Of it, what one tenant's may.
    func uploadRoom(of tenant: Tenant) -> UInt64 {
        let most = UInt64(limits.tenant.bytesInFlight)
        let use = ledger[tenant].uploadBytes + UInt64(scheduler.standing(of: tenant).waitingBytes)
        return most - min(use, most)
    }

    /// A connection's announced uploads changed by so much.
    func noteUploads(from before: UInt64, to after: UInt64, of tenant: Tenant) {
        guard before != after else { return }
        uploadBytes = uploadBytes - before + after
        ledger[tenant].uploadBytes = ledger[tenant].uploadBytes - before + after
    }

    // MARK: Jobs, as connections see them

    /// Takes a job into the queue, or says why not. The actions are to be performed after the client has been told.
    ///
    /// - Parameter name: what the job's snapshot is called, if it is to end as one.
    func admit(
        _ spec: JobSpec, _ source: JobSource, named name: () -> ContentDigest?, number: UInt32,
        from connection: Connection
    ) throws(Refusal) -> (acceptance: Acceptance, memoryBytes: UInt64, actions: [SchedulerAction]) {
        let prepared = try prepare(spec, source, named: name, for: connection.peer)
        let key = JobKey(nextID())
        let owner = connection.peer.owner
        let admission: (position: Int, waitNanoseconds: UInt64?, actions: [SchedulerAction])
        do throws(Refusal) {
            admission = try scheduler.submit(
                key, prepared.request(spec, of: owner), arriving: Int(clamping: ledger[owner].uploadBytes),
                at: MonotonicClock.now)
        } catch {
            prepared.use.map { snapshots.release($0) }
            throw error
        }
        enroll(ActiveJob(key, number: number, of: connection, peer: connection.peer, spec: spec, prepared: prepared))
        counters.jobsAccepted += 1
        log.jobAccepted(key.number, JobTitle(spec), position: admission.position, peer: connection.peer)
        let acceptance = Acceptance(
            id: key.number, queuePosition: UInt32(clamping: admission.position),
            waitNanoseconds: admission.waitNanoseconds)
        return (acceptance, prepared.memoryBytes, admission.actions)
    }

    /// A number that no job of this worker has had.
    func nextID() -> UInt64 {
        lastKey = JobKey(lastKey.number + 1)
        return lastKey.number
    }

    /// Lists a job that the scheduler has.
    func enroll(_ job: ActiveJob) {
        noteWork()
        jobs[job.key] = job
        roster.insert(job.key)
        ledger[job.peer.owner].roster.insert(job.key)
        if job.snapshotUse != nil { counters.snapshotStarts += 1 }
        guard let limit = job.waitLimit.map({ min($0, Self.longestWait) }) else { return }
        job.waitEnd = eventLoop.assumeIsolated().scheduleTask(
            in: .nanoseconds(Int64(clamping: limit))
        ) {
            [weak self, key = job.key] in
            guard let self else { return }
            perform(scheduler.expire(key))
        }
    }

    /// So many of the images that a submission named by digest are there.
    func noteLookUp(found: Int, of count: Int) {
        counters.imagesFound += UInt64(found)
        counters.imagesWanted += UInt64(count - found)
    }

    /// A submission was turned down.
    func noteRefusal(_ refusal: Refusal, of spec: JobSpec?, from peer: Peer) {
        counters.noteRefusal(ErrorCode(refusal.rule))
        ledger[peer.owner].refused += 1
        log.jobRefused(refusal, of: spec.map(JobTitle.init), peer: peer)
    }

    func addCredit(_ bytes: Int, to key: JobKey) {
        guard let job = jobs[key] else { return }
        sendHeld(job.gate.add(credit: bytes), of: job)
        job.grant()
    }

    func addInput(_ bytes: [UInt8], end: Bool, to key: JobKey) { jobs[key]?.control.appendInput(bytes, end: end) }

    /// Stops a job. Its result does not wait for credit from here on.
    func cancel(_ key: JobKey, by canceller: Canceller) {
        perform(scheduler.cancel(key, by: canceller))
        endCredit(of: key)
    }

    /// Whether a job's result has not been given to its connection yet.
    func isActive(_ key: JobKey) -> Bool { jobs[key] != nil }

    /// The socket has taken this many bytes of output.
    func flushed(_ count: Int, of source: OutputSource) {
        switch source {
        case .job(let key): flushed(count, of: key)
        case .reader(let reader):
            reader.flushed(count)
            detached?.pump(reader)
        }
    }

    /// The socket, or the disk, has taken this many bytes of a job's output.
    func flushed(_ count: Int, of key: JobKey) {
        guard let job = jobs[key] else { return }
        job.gate.flushed(count)
        job.grant()
    }

    /// Lets a paused job take this many steps more; with 0 it ends. Does nothing for one that is ending already.
    func extend(_ key: JobKey, by steps: UInt64) {
        guard steps > 0 else { return perform(scheduler.end(key)) }
        jobs[key]?.moreSteps = steps
        perform(scheduler.extended(key, at: MonotonicClock.now))
    }

    /// No more credit and no more steps will come for this job: its result does not wait for any.
    func endCredit(of key: JobKey) {
        jobs[key]?.isFinal = true
        perform(scheduler.end(key))
        // What a detached job writes is kept whole: its credit comes from the disk.
        guard let job = jobs[key], !job.isDetached else { return }
        job.gate.close()
        job.control.endOutputCredit()
        if let held = job.held { deliver(held.result, of: job) }
    }

    // MARK: Jobs, as the scheduler sees them

    /// Holds back what slots are to begin with until ``startHeld()``, which has to come in this turn of the loop. The slots take
    /// jobs in the order in which the scheduler started them, so all of it waits.
    func holdStarts() { heldStarts = heldStarts ?? [] }

    /// Hands the slots what was held back, if anything was.
    func startHeld() {
        let actions = heldStarts ?? []
        heldStarts = nil
        perform(actions)
    }

    func perform(_ actions: [SchedulerAction]) {
        for action in actions {
            switch action {
            case .start where heldStarts != nil, .resume where heldStarts != nil: heldStarts?.append(action)
            case .start(let key, let other): start(key, before: other)
            case .stop(let key, let canceller): stop(key, canceller)
            case .abandon(let key, let canceller): conclude(key, JobResult(outcome: .cancelled(by: canceller)))
            case .expire(let key): expire(key)
            case .withdraw(let key): withdraw(key)
            case .resume(let key): resume(key)
            case .end(let key, let canceller): endPaused(key, by: canceller)
            }
        }
    }

    private func start(_ key: JobKey, before other: JobKey?) {
        guard let job = jobs[key], let admitted = job.admitted else {
            preconditionFailure("the scheduler started a job that is not there, or started it twice")
        }
        // The image is the slots' from here on; a result that waits for credit does not keep it.
        job.admitted = nil
        let few = slots.count * Self.jobsReadyPerSlot
        let before = other.flatMap { jobs[$0]?.control }
        ready.start(admitted, for: job.peer.tenant, control: job.control, before: before) { [events, ready] event in
            events.put(event, of: key, isUrgent: event.isUrgent && ready.count < few)
        }
        lookSoon()
    }

    /// A job that no slot has taken yet ends here, as one that waits in the queue does.
    private func stop(_ key: JobKey, _ canceller: Canceller) {
        guard let job = jobs[key] else { return }
        guard ready.withdraw(job.control) else { return job.control.cancel(canceller) }
        end(key, JobResult(outcome: .cancelled(by: canceller)), at: MonotonicClock.now)
    }

    /// It has waited for as long as it may, in the queue.
    private func expire(_ key: JobKey) {
        conclude(key, JobResult(outcome: .waitExpired(limit: jobs[key]?.waitLimit ?? 0)))
    }

    /// The same of one that the slots have. If one has taken it, it has started in time.
    private func withdraw(_ key: JobKey) {
        guard let job = jobs[key], ready.withdraw(job.control) else { return }
        end(key, JobResult(outcome: .waitExpired(limit: job.waitLimit ?? 0)), at: MonotonicClock.now)
    }

    // MARK: Events

    /// All that the slots have told until now. What is to be sent of it leaves in one piece for each connection.
    private func lookAtEvents() {
        events.take(into: &batch, next: poller?.isPolling == true ? .coming : isLookDue ? .due : .away)
        guard !batch.isEmpty else { return flushAll() }
        noteActivity()
        flushingOnce {
            for index in batch.indices { take(batch[index]) }
        }
        batch.removeAll(keepingCapacity: true)
        lookSoon()
    }

    /// Something came from a client or a slot, and more may follow.
    func noteActivity() { poller?.noteActivity() }

    /// While jobs run there is a next look without a call. It is the last one if it finds nothing: a guest that keeps its events to
    /// itself for long costs nothing, and its next one calls.
    private func lookSoon() {
        guard !isLookDue, scheduler.handedCount > 0, poller?.isPolling != true else { return }
        isLookDue = true
        events.promiseLook()
        eventLoop.assumeIsolated().scheduleTask(in: Self.lookInterval) { [weak self] in
            self?.isLookDue = false
            self?.lookAtEvents()
        }
    }

    /// One event of a running job, on the event loop.
    private func take(_ entry: EventQueue.Entry) {
        let key = entry.key
        guard let job = jobs[key] else { return }
        switch entry.event {
        case .started:
            if job.startedAt == nil { job.startedAt = entry.instant }
            job.stopWaiting()
            perform(scheduler.began(key, at: entry.instant))
            job.connection?.started(job.number, queueNanoseconds: job.queueNanoseconds)
            if job.isDetached { detached?.started(job) }
        case .output(let channel, let bytes): send(channel, job.gate.pass(channel, bytes), of: job)
        case .inputConsumed(let count): job.connection?.inputConsumed(job.number, count)
        case .paused(let pause): self.pause(job, pause, at: entry.instant)
        case .finished(let result): end(key, keepingSnapshot(of: job, result), at: entry.instant)
        }
    }

    /// Passes on what a guest wrote, to its connection or to the disk.
    private func send(_ channel: OutputChannel, _ bytes: [UInt8], of job: ActiveJob) {
        guard job.isDetached else {
            job.connection?.output(job.number, channel, bytes, key: job.key)
            return
        }
        detached?.keepOutput(channel, bytes, of: job)
    }

    /// Lets connections send what comes up meanwhile in one piece each.
    func flushingOnce(_ work: () -> Void) {
        guard !isGathering else { return work() }
        isGathering = true
        work()
        isGathering = false
        flushAll()
    }

    private func flushAll() {
        let connections = unflushed
        unflushed.removeAll(keepingCapacity: true)
        for connection in connections { connection.flush() }
    }

    /// Whether the connection's bytes leave soon, without its doing: while jobs run, what is told of their beginnings leaves with what
    /// is told of their ends.
    func willFlush(_ connection: Connection) -> Bool {
        guard isGathering || isLookDue else { return false }
        unflushed.append(connection)
        return true
    }

    // MARK: Pauses

    /// The job has used up its steps. It is paused if there is room for one more machine and somebody to extend it; otherwise it
    /// ends.
    private func pause(_ job: ActiveJob, _ pause: Pause, at instant: UInt64) {
        var actions = scheduler.paused(job.key, at: instant)
        if scheduler.isPaused(job.key) {
            if let connection = job.connection, !job.isFinal,
                kept.keep(job.key, of: ObjectIdentifier(connection), memoryBytes: job.memoryBytes)
            {
                var pause = pause
                pause.keepNanoseconds = limits.pauseTime.wholeNanoseconds
                job.keepEnd = scheduleKeepEnd(of: job.key)
                connection.paused(job.number, pause)
            } else {
                actions += scheduler.end(job.key)
            }
        }
        perform(actions)
    }

    private func scheduleKeepEnd(of key: JobKey) -> Scheduled<Void> {
        eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limits.pauseTime)) { [weak self] in
            guard let self else { return }
            perform(scheduler.end(key))
        }
    }

    private func resume(_ key: JobKey) {
        guard let job = jobs[key] else { preconditionFailure("the scheduler resumed a job that is not there") }
        job.stopKeeping()
        kept.release(key)
        ready.resume(job.control, steps: job.moreSteps)
    }

    /// Its result comes as an event, as that of a running job.
    private func endPaused(_ key: JobKey, by canceller: Canceller?) {
        guard let job = jobs[key] else { return }
        job.stopKeeping()
        if let canceller { job.control.cancel(canceller) }
        job.control.endPaused()
    }

    // MARK: Ends

    /// A job that the slots had has ended.
    private func end(_ key: JobKey, _ result: JobResult, at instant: UInt64) {
        kept.release(key)
        conclude(key, result)
        perform(scheduler.finished(key, at: instant))
        noteProgress()
    }

    /// The job has ended. Its result goes out now, or behind the output that waits for credit.
    private func conclude(_ key: JobKey, _ result: JobResult) {
        guard let job = jobs[key] else { return }
        job.snapshotUse.map { snapshots.release($0) }
        job.snapshotUse = nil
        job.stopWaiting()
        var result = result
        result.queueNanoseconds = job.queueNanoseconds
        if job.isDetached, result.outcome == .cancelled(by: .drain) {
            job.isGivenUp = true
        } else {
            log.jobFinished(key.number, job.title, result, peer: job.peer)
            note(result, of: job.peer.owner, hasStarted: job.startedAt != nil)
        }
        guard job.gate.isHolding, job.hasReader else { return deliver(result, of: job) }
        job.held = ActiveJob.HeldResult(result)
    }

    func note(_ result: JobResult, of tenant: Tenant, hasStarted: Bool) {
        finishedCount += 1
        if !result.outcome.isSuccess { failedCount += 1 }
        counters.noteEnd(result, hasStarted: hasStarted)
        ledger.noteEnd(of: tenant, slotNanoseconds: result.wallNanoseconds, failed: !result.outcome.isSuccess)
    }

    private func sendHeld(_ ready: [(channel: OutputChannel, bytes: [UInt8])], of job: ActiveJob) {
        for (channel, bytes) in ready { send(channel, bytes, of: job) }
        if let held = job.held, !job.gate.isHolding { deliver(held.result, of: job) }
    }

    private func deliver(_ result: JobResult, of job: ActiveJob) {
        guard jobs.removeValue(forKey: job.key) != nil else { return }
        roster.noteRemoval { jobs[$0] != nil }
        ledger[job.peer.owner].roster.noteRemoval { jobs[$0] != nil }
        job.connection?.finished(job.number, result)
        if job.isDetached { detached?.ended(job, result) }
        noteProgress()
    }

    // MARK: Drain

    /// No new jobs from here on; fulfils the promise when the last accepted job has its result and every client is gone.
    func drain(_ done: EventLoopPromise<Void>, _ reason: GoAwayReason) {
        whenDrained.append(done)
        if !isDraining {
            isDraining = true
            log.draining(jobs: jobs.count)
            detached?.drain()
            for connection in connections.values { connection.goAway(reason) }
            perform(scheduler.drain())
        }
        noteProgress()
    }

    /// The grace time is over: stops every job, and sends results without the output that waits for credit.
    private func stopJobs() {
        flushingOnce {
            perform(scheduler.cancelAll(by: .drain))
            for key in jobs.keys.sorted() { endCredit(of: key) }
        }
    }

    /// When the grace time is over, stops what is left; a farewell later, cuts off clients that do not read.
    func endDrain(after grace: TimeAmount, farewell: TimeAmount) {
        let loop = eventLoop.assumeIsolated()
        loop.scheduleTask(in: grace) { [weak self] in self?.stopJobs() }
        loop.scheduleTask(in: grace + farewell) { [weak self] in self?.abortConnections() }
    }

    private func abortConnections() { connections.values.forEach { $0.abort() } }

    /// Something goes on that no connection and no running job shows.
    func noteWork() { idleSince = nil }

    func noteProgress() {
        let isIdle = connections.isEmpty && scheduler.isIdle && detached?.isQuiet ?? true
        if isIdle, idleSince == nil { idleSince = .now }
        guard isDraining, isIdle else { return }
        stopSlots()
    }

    /// Whether the slots' machines are gone, which is the last thing that a drain does.
    private enum SlotsEnd {
        case notYet
        case begun
        case over
    }

    private func stopSlots() {
        switch slotsEnd {
        case .begun: return
        case .over:
            detached?.keeper.close()
            whenDrained.forEach { $0.succeed() }
            whenDrained = []
        case .notYet:
            slotsEnd = .begun
            let (loop, bound) = (eventLoop, NIOLoopBound(self, eventLoop: eventLoop))
            keeping.stop(slots) {
                loop.execute {
                    bound.value.slotsEnd = .over
                    bound.value.stopSlots()
                }
            }
        }
    }

    var status: WorkerStatus {
        WorkerStatus(
            slots: slots.count, running: scheduler.runningCount, queued: scheduler.queuedCount,
            paused: scheduler.pausedCount, connections: connections.count, finished: finishedCount,
            failed: failedCount, idleSince: idleSince, isDraining: isDraining)
    }
}

extension JobEvent {
    /// Whether somebody may be waiting for it, so that it is told at once where no other job's events are about to come.
    fileprivate var isUrgent: Bool {
        switch self {
        case .finished, .paused: true
        case .started, .output, .inputConsumed: false
        }
    }
}

extension BackendProfile {
    /// The modes as HELLO tells them.
    var offers: [(GuestMode, ModeMeter)] {
        GuestMode.allCases.compactMap { mode in
            guard modes[mode] != nil else { return nil }
            return switch counting(of: mode) {
            case .none: (mode, .none)
            case .exact: (mode, .exact)
            case .bounded: (mode, .bounded)
            }
        }
    }
}
