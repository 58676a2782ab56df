// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling
internal import KVM
internal import VMRuntime

/// What a worker tells of itself, and what it is told to stop. Users see and stop what is theirs; operators everything.
extension Dispatcher {
    /// - Parameter tell: gets the answer, at once or when the disk has been asked.
    func answer(_ query: Query, for peer: Peer, tell: @escaping (Answer) -> Void) {
        switch query {
        case .worker: tell(.worker(report(for: peer)))
        case .tenants(let after): tell(tenants(after: after, for: peer))
        case .jobs(let after): tell(list(after: after, for: peer))
        case .counters: tell(.counters(counters.report(keeping.counts)))
        case .detached(let after):
            guard let detached else { return tell(.detached([], more: false)) }
            detached.list(after: after, of: reach(of: peer), answer: tell)
        }
    }

    /// Whose jobs this peer may see and stop: its own, or anybody's.
    private func reach(of peer: Peer) -> Tenant? { isOperator(peer) ? nil : peer.owner }

    func isOperator(_ peer: Peer) -> Bool { peer.tenant.map(operators.contains) ?? false }

    private func report(for peer: Peer) -> WorkerReport {
        let status = status
        var report = WorkerReport()
        report.software = terms.software
        report.backend = backend.profile.summary
        report.uptimeNanoseconds = MonotonicClock.now - startedAt
        report.slots = UInt32(clamping: status.slots)
        report.running = UInt32(clamping: status.running)
        report.queued = UInt32(clamping: status.queued)
        report.paused = UInt32(clamping: status.paused)
        report.connections = UInt32(clamping: status.connections)
        report.tenants = UInt32(clamping: present.count)
        report.memoryLimit = limits.runningMemoryBytes
        report.memoryBytes = scheduler.memoryBytes
        (report.finished, report.failed) = (status.finished, status.failed)
        report.isDraining = isDraining
        report.isOperator = isOperator(peer)
        report.confinement = confinement
        return report
    }

    // MARK: Lists

    /// Tenants that have something here.
    private var present: Set<Tenant> {
        Set(scheduler.tenants).union(ledger.tenants.filter { !ledger[$0].hasNothing })
    }

    /// A page of what this peer may see.
    private func tenants(after: Tenant?, for peer: Peer) -> Answer {
        let known = isOperator(peer) ? Array(Set(scheduler.tenants).union(ledger.tenants)) : [peer.owner]
        let wanted = known.filter { tenant in after.map { $0 < tenant } ?? true }.sorted()
        let page = wanted.prefix(Answer.recordLimit)
        return .tenants(page.map(report), more: page.count < wanted.count)
    }

    private func report(_ tenant: Tenant) -> TenantReport {
        let (entry, standing) = (ledger[tenant], scheduler.standing(of: tenant, at: MonotonicClock.now))
        var report = TenantReport(tenant)
        report.connections = UInt32(clamping: entry.connections)
        report.queued = UInt32(clamping: standing.queued)
        report.running = UInt32(clamping: standing.running)
        report.paused = UInt32(clamping: standing.paused)
        report.memoryBytes = standing.memoryBytes
        report.bytesInFlight = entry.uploadBytes + UInt64(standing.waitingBytes)
        report.keptBytes = UInt64(known.bytes(of: tenant.user))
        report.slotNanoseconds = entry.slotNanoseconds &+ standing.runningNanoseconds
        (report.finished, report.failed, report.refused) = (entry.finished, entry.failed, entry.refused)
        return report
    }

    private func list(after: UInt64?, for peer: Peer) -> Answer {
        let roster = isOperator(peer) ? roster : ledger[peer.owner].roster
        let page = roster.page(after: JobKey(after ?? 0), atMost: Answer.recordLimit) { jobs[$0] != nil }
        return .jobs(page.keys.compactMap { jobs[$0].map(describe) }, more: page.more)
    }

    private func describe(_ job: ActiveJob) -> ListedJob {
        var listed = ListedJob(id: job.key.number, tenant: job.peer.owner, state: state(of: job), mode: job.mode)
        listed.process = job.peer.process.flatMap(UInt32.init(exactly:))
        listed.priority = job.priority
        listed.memoryBytes = job.memoryBytes
        listed.queueNanoseconds = job.queueNanoseconds
        listed.runNanoseconds = job.startedAt.map { MonotonicClock.now - min($0, MonotonicClock.now) }
        listed.title = job.title.text
        return listed
    }

    private func state(of job: ActiveJob) -> ListedJob.State {
        if job.held != nil { return .ended }
        if scheduler.isPaused(job.key) { return .paused }
        return job.startedAt == nil ? .queued : .running
    }

    // MARK: Stops

    /// - Parameter tell: gets the answer, at once or when the disk has been asked.
    func stop(_ request: StopRequest, for peer: Peer, tell: @escaping (StopAnswer) -> Void) {
        switch request {
        case .jobs(let ids): stop(ids, for: peer) { tell(.jobs($0)) }
        case .keeping(let ids):
            guard let detached else { return tell(.keeping(ids.map { _ in .unknown })) }
            detached.forget(ids, of: reach(of: peer)) { tell(.keeping($0)) }
        case .worker:
            guard isOperator(peer), let drainHandler else { return tell(.worker(drains: false)) }
            log.drainRequested(by: peer)
            drainHandler()
            tell(.worker(drains: true))
        }
    }

    private func stop(_ ids: [UInt64], for peer: Peer, tell: @escaping ([StopAnswer.JobAnswer]) -> Void) {
        let answers = ids.map { stop($0, for: peer) }
        let others = zip(ids, answers).filter { $1 == .unknown }.map(\.0)
        guard let detached, !others.isEmpty else { return tell(answers) }
        detached.stopWaiting(others, for: peer.owner, isOperator: isOperator(peer)) { stopped in
            tell(zip(ids, answers).map { stopped[$0] ?? $1 })
        }
    }

    private func stop(_ id: UInt64, for peer: Peer) -> StopAnswer.JobAnswer {
        let key = JobKey(id)
        guard let job = jobs[key], job.held == nil else { return .unknown }
        let isOwn = job.peer.owner == peer.owner
        guard isOwn || isOperator(peer) else { return .unknown }
        cancel(key, by: isOwn ? .user : .operator)
        return .stopped
    }
}

extension Tenant {
    /// The user's number; nil of those who have none.
    var user: UInt32? {
        switch self {
        case .user(let number): number
        case .unnamed: nil
        }
    }
}

extension BackendProfile {
    /// How guests run here, for people.
    fileprivate var summary: String {
        countsEmulation
            ? "KVM by software: emulates all but ring 3 of long mode" : "KVM on hardware"
    }
}
