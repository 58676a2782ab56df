// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling
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
    private let slots: [Slot]
    private var scheduler: Scheduler
    private var kept: KeptMachines<ObjectIdentifier>
    /// What may be submitted again.
    var known: KnownImages
    /// What jobs may start from.
    var snapshots: SnapshotStore<Snapshot>
    private(set) var jobs: [JobKey: ActiveJob] = [:]
    private var connections: [ObjectIdentifier: Connection] = [:]
    private var lastKey = JobKey(0)
    private var finishedCount: UInt64 = 0
    private var uploadBytes: UInt64 = 0
    private var idleSince: ContinuousClock.Instant? = .now
    private(set) var isDraining = false
    private var slotsEnd = SlotsEnd.notYet
    private var whenDrained: [EventLoopPromise<Void>] = []

    init(configuration: WorkerConfiguration, backend: Backend, eventLoop: any EventLoop, log: WorkerLog) {
        (self.log, self.eventLoop, self.backend) = (log, eventLoop, backend)
        limits = configuration.limits
        keeping = MachineKeeping(
            policy: configuration.machines, machinesPerSlot: limits.keptMachinesPerSlot,
            memoryBytesPerSlot: limits.keptMemoryBytes / UInt64(configuration.slots))
        slots = (0..<configuration.slots).map { [keeping] in Slot(number: $0, backend: backend, keeping: keeping) }
        scheduler = Scheduler(
            slots: configuration.slots, queueLimit: limits.queuedJobs, waitingBytesLimit: limits.queuedImageBytes)
        kept = KeptMachines(
            limits: .init(
                machines: limits.pausedJobs, machinesPerOwner: limits.pausedJobsPerConnection,
                memoryBytes: limits.pausedMemoryBytes))
        known = KnownImages(limits: limits)
        snapshots = SnapshotStore(limits: .init(bytes: limits.snapshotBytes, count: limits.snapshots))
        terms = WorkerTerms(
            jobLimit: limits.jobsPerConnection, imageLimit: limits.imageBytes, memoryMaximum: limits.memoryBytes,
            wallMaximum: limits.wallTime, slots: UInt32(configuration.slots), modes: backend.profile.offers,
            software: configuration.software)
    }

    deinit { slots.forEach { $0.stop() } }

    // MARK: Connections

    /// Whether one more connection may be served.
    var hasRoom: Bool { connections.count < limits.connections }

    func add(_ connection: Connection) {
        connections[ObjectIdentifier(connection)] = connection
        idleSince = nil
        connection.open()
        if isDraining { connection.goAway(.drain) }
    }

    /// Tells a client that there is no room for it, and closes its connection.
    func turnAway(_ channel: any Channel, peer: Peer) {
        log.connectionFailed("\(limits.connections) connections are open, as many as may be", peer: peer)
        let notice = ServerSession.tooManyConnections(limit: limits.connections)
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
        noteProgress()
    }

    /// Bytes that images on their way may still announce, over all connections.
    var uploadRoom: UInt64 { UInt64(limits.uploadBytes) - min(uploadBytes, UInt64(limits.uploadBytes)) }

    /// A connection's announced uploads changed by so much.
    func noteUploads(from before: UInt64, to after: UInt64) { uploadBytes = uploadBytes - before + after }

    // MARK: Jobs, as connections see them

    /// Takes a job into the queue, or says why not. The actions are to be performed after the client has been told.
    ///
    /// - Parameter name: what the snapshot of a job with an image is called, if it is to end as one.
    func admit(
        _ spec: JobSpec, _ source: JobSource, named name: (Image) -> ContentDigest?, number: UInt32,
        from connection: Connection
    ) throws(Refusal) -> (key: JobKey, position: Int, memoryBytes: UInt64, actions: [SchedulerAction]) {
        let prepared = try prepare(spec, source, named: name, for: connection.peer)
        let key = JobKey(lastKey.number + 1)
        let admission: (position: Int, actions: [SchedulerAction])
        do throws(Refusal) {
            admission = try scheduler.submit(key, bytes: prepared.imageBytes)
        } catch {
            prepared.use.map { snapshots.release($0) }
            throw error
        }
        lastKey = key
        jobs[key] = ActiveJob(
            connection: connection, peer: connection.peer, number: number, label: spec.label,
            memoryBytes: prepared.memoryBytes, admitted: prepared.job, snapshotUse: prepared.use,
            control: JobControl(hasInput: spec.hasInput), acceptedAt: .now)
        return (key, admission.position, prepared.memoryBytes, admission.actions)
    }

    func addCredit(_ bytes: Int, to key: JobKey) {
        guard let ready = jobs[key]?.gate.add(credit: bytes) else { return }
        sendHeld(ready, of: key)
        grant(key)
    }

    func addInput(_ bytes: [UInt8], end: Bool, to key: JobKey) { jobs[key]?.control.appendInput(bytes, end: end) }

    /// Stops a job. Its result does not wait for credit from here on.
    func cancel(_ key: JobKey, by canceller: Canceller) {
        perform(scheduler.cancel(key, by: canceller))
        endCredit(of: key)
    }

    /// The socket has taken this many bytes of a job's output.
    func flushed(_ count: Int, of key: JobKey) {
        jobs[key]?.gate.flushed(count)
        grant(key)
    }

    /// Lets a paused job take this many steps more; with 0 it ends. Does nothing for one that is ending already.
    func extend(_ key: JobKey, by steps: UInt64) {
        guard steps > 0 else { return perform(scheduler.end(key)) }
        jobs[key]?.moreSteps = steps
        perform(scheduler.extended(key))
    }

    /// No more credit and no more steps will come for this job: its result does not wait for any.
    func endCredit(of key: JobKey) {
        jobs[key]?.isFinal = true
        perform(scheduler.end(key))
        jobs[key]?.gate.close()
        jobs[key]?.control.endOutputCredit()
        if let result = jobs[key]?.heldResult { deliver(result, of: key) }
    }

    private func grant(_ key: JobKey) {
        guard let bytes = jobs[key]?.gate.grant(), bytes > 0 else { return }
        jobs[key]?.control.grantOutput(bytes)
    }

    // MARK: Jobs, as the scheduler sees them

    func perform(_ actions: [SchedulerAction]) {
        for action in actions {
            switch action {
            case .start(let key, let slot): start(key, in: slots[slot])
            case .stop(let key, let canceller): jobs[key]?.control.cancel(canceller)
            case .abandon(let key, let canceller): conclude(key, JobResult(outcome: .cancelled(by: canceller)))
            case .resume(let key, let slot): resume(key, in: slots[slot])
            case .end(let key, let canceller): endPaused(key, by: canceller)
            }
        }
    }

    private func start(_ key: JobKey, in slot: Slot) {
        guard let job = jobs[key], let admitted = job.admitted else {
            preconditionFailure("the scheduler started a job that is not there, or started it twice")
        }
        // The image is the slot's from here on; a result that waits for credit does not keep it.
        jobs[key]?.admitted = nil
        let loop = eventLoop
        let bound = NIOLoopBound(self, eventLoop: loop)
        slot.start(admitted, for: job.peer.tenant, control: job.control) { event in
            loop.execute { bound.value.take(event, of: key) }
        }
    }

    /// One event of a running job, on the event loop.
    private func take(_ event: JobEvent, of key: JobKey) {
        switch event {
        case .started:
            jobs[key]?.startedAt = .now
            guard let job = jobs[key] else { return }
            job.connection?.started(job.number, queueNanoseconds: job.queueNanoseconds)
        case .output(let channel, let bytes):
            guard let sendable = jobs[key]?.gate.pass(channel, bytes), let job = jobs[key] else { return }
            job.connection?.output(job.number, channel, sendable, key: key)
        case .inputConsumed(let count):
            guard let job = jobs[key] else { return }
            job.connection?.inputConsumed(job.number, count)
        case .paused(let pause): self.pause(key, pause)
        case .finished(let result):
            kept.release(key)
            conclude(key, keepingSnapshot(of: key, result))
            perform(scheduler.finished(key))
            noteProgress()
        }
    }

    // MARK: Pauses

    /// The job has used up its steps. It is paused if there is room for one more machine and somebody to extend it; otherwise it
    /// ends.
    private func pause(_ key: JobKey, _ pause: Pause) {
        var actions = scheduler.paused(key)
        if scheduler.isPaused(key), let job = jobs[key] {
            if let connection = job.connection, !job.isFinal,
                kept.keep(key, of: ObjectIdentifier(connection), memoryBytes: job.memoryBytes)
            {
                var pause = pause
                pause.keepNanoseconds = limits.pauseTime.wholeNanoseconds
                jobs[key]?.keepEnd = scheduleKeepEnd(of: key)
                connection.paused(job.number, pause)
            } else {
                actions += scheduler.end(key)
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

    private func resume(_ key: JobKey, in slot: Slot) {
        guard let job = jobs[key] else { preconditionFailure("the scheduler resumed a job that is not there") }
        job.keepEnd?.cancel()
        jobs[key]?.keepEnd = nil
        kept.release(key)
        slot.resume(job.control, steps: job.moreSteps)
    }

    /// Its result comes as an event, as that of a running job.
    private func endPaused(_ key: JobKey, by canceller: Canceller?) {
        guard let job = jobs[key] else { return }
        job.keepEnd?.cancel()
        jobs[key]?.keepEnd = nil
        if let canceller { job.control.cancel(canceller) }
        job.control.endPaused()
    }

    // MARK: Ends

    /// The job has ended. Its result goes out now, or behind the output that waits for credit.
    private func conclude(_ key: JobKey, _ result: JobResult) {
        guard let job = jobs[key] else { return }
        job.snapshotUse.map { snapshots.release($0) }
        jobs[key]?.snapshotUse = nil
        var result = result
        result.queueNanoseconds = job.queueNanoseconds
        log.jobFinished(key.number, label: job.label, result, peer: job.peer)
        finishedCount += 1
        guard job.gate.isHolding, job.connection != nil else { return deliver(result, of: key) }
        jobs[key]?.heldResult = result
    }

    private func sendHeld(_ ready: [(channel: OutputChannel, bytes: [UInt8])], of key: JobKey) {
        guard let job = jobs[key] else { return }
        for (channel, bytes) in ready { job.connection?.output(job.number, channel, bytes, key: key) }
        if let result = job.heldResult, !job.gate.isHolding { deliver(result, of: key) }
    }

    private func deliver(_ result: JobResult, of key: JobKey) {
        guard let job = jobs.removeValue(forKey: key) else { return }
        job.connection?.finished(job.number, result)
        noteProgress()
    }

    // MARK: Drain

    /// No new jobs from here on; fulfils the promise when the last accepted job has its result and every client is gone.
    func drain(_ done: EventLoopPromise<Void>, _ reason: GoAwayReason) {
        whenDrained.append(done)
        if !isDraining {
            isDraining = true
            log.draining(jobs: jobs.count)
            for connection in connections.values { connection.goAway(reason) }
            perform(scheduler.drain())
        }
        noteProgress()
    }

    /// The grace time is over: stops every job, and sends results without the output that waits for credit.
    private func stopJobs() {
        perform(scheduler.cancelAll(by: .drain))
        for key in jobs.keys.sorted() { endCredit(of: key) }
    }

    /// When the grace time is over, stops what is left; a farewell later, cuts off clients that do not read.
    func endDrain(after grace: TimeAmount, farewell: TimeAmount) {
        let loop = eventLoop.assumeIsolated()
        loop.scheduleTask(in: grace) { [weak self] in self?.stopJobs() }
        loop.scheduleTask(in: grace + farewell) { [weak self] in self?.abortConnections() }
    }

    private func abortConnections() { connections.values.forEach { $0.abort() } }

    private func noteProgress() {
        let isIdle = connections.isEmpty && scheduler.isIdle
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
            idleSince: idleSince, isDraining: isDraining)
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
