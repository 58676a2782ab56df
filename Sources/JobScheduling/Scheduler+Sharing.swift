// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import DequeModule
internal import JobModel

/// Whose turn it is.
extension Scheduler {
    /// Tenants without jobs are remembered as long as there are no more than so many in all: what they had of the slots above
    /// others' counts when they come back.
    static let rememberedTenants = 4096
    /// When to come back where nothing tells how long jobs take: 1 s.
    static let longRetry: UInt64 = 1_000_000_000
    /// Nobody is told to come back sooner: 10 ms.
    static let shortRetry: UInt64 = 10_000_000

    /// A running mean, of which the newest time is an eighth.
    static func mean(_ mean: UInt64?, _ time: UInt64) -> UInt64 {
        guard let mean else { return time }
        return mean - mean / 8 + time / 8
    }

    // MARK: Accounts

    /// The tenant's account. One without jobs joins those that share the slots.
    mutating func activePlace(of tenant: Tenant) -> Int {
        let place = places[tenant] ?? open(tenant)
        if !accounts[place].isActive {
            raiseFloor()
            accounts[place].joinSharing(at: floor)
        }
        return place
    }

    private mutating func open(_ tenant: Tenant) -> Int {
        let place = disposablePlace ?? accounts.count
        if place < accounts.count {
            places[accounts[place].tenant] = nil
            accounts[place] = TenantAccount(tenant)
        } else {
            accounts.append(TenantAccount(tenant))
        }
        places[tenant] = place
        return place
    }

    /// An account that says nothing: its tenant has no jobs, and no more slot time than anybody who comes new.
    private var disposablePlace: Int? {
        let idle = accounts.indices.lazy.filter { !accounts[$0].isActive && accounts[$0].pausedCount == 0 }
        return idle.first { accounts[$0].charged <= floor }
            ?? (accounts.count < Self.rememberedTenants
                ? nil : idle.min { accounts[$0].charged < accounts[$1].charged })
    }

    /// Who comes now, or comes back, has as much slot time from here on as the active tenant that has the least, the one that leaves
    /// included.
    mutating func raiseFloor(leaving place: Int? = nil) {
        let active = accounts.lazy.filter(\.isActive).map { [clock] in $0.slotTime(at: clock) }
        let leaving = place.map { accounts[$0].slotTime(at: clock) }
        guard let least = [active.min(), leaving].compactMap({ $0 }).min() else { return }
        floor = max(floor, least)
    }

    // MARK: The queue

    /// The job waits from here on.
    mutating func join(_ key: JobKey) {
        guard let job = jobs[key] else { return }
        accounts[job.account].line.append(key, job.priority)
        lineCount += 1
    }

    /// The job waits no more, and its state says so already.
    mutating func leaveQueue(_ job: Job) {
        lineCount -= 1
        accounts[job.account].line.noteRemoval(job.priority) { [jobs] in jobs[$0]?.waits ?? false }
    }

    /// Gives jobs to the slots as long as there is room for the next one.
    mutating func fill() -> [SchedulerAction] {
        var actions: [SchedulerAction] = []
        while lineCount > 0, let (key, place) = next(), let action = hand(key, place) { actions.append(action) }
        return actions
    }

    /// The first job of the tenant that has had the least, of those whose own limits let it start.
    private mutating func next() -> (JobKey, Int)? {
        var best: (key: JobKey, place: Int)?
        for place in accounts.indices where accounts[place].line.count > 0 {
            guard let key = accounts[place].line.first(where: { [jobs] in jobs[$0]?.waits ?? false }),
                isAllowed(key, place)
            else { continue }
            if best.map({ goesBefore((key, place), $0) }) ?? true { best = (key, place) }
        }
        return best
    }

    private func isAllowed(_ key: JobKey, _ place: Int) -> Bool {
        let account = accounts[place]
        return account.handedSlots <= limits.tenant.runningJobs - (jobs[key]?.slots ?? 1)
            && jobs[key]?.memoryBytes ?? 0 <= limits.tenant.memoryBytes
                - min(account.memoryBytes, limits.tenant.memoryBytes)
    }

    /// Of two that have had as much, the one goes first that has fewer slots, and then the one that came first.
    private func goesBefore(_ one: (key: JobKey, place: Int), _ other: (key: JobKey, place: Int)) -> Bool {
        let (left, right) = (accounts[one.place], accounts[other.place])
        let (had, hasHad) = (left.slotTimeAhead(at: clock), right.slotTimeAhead(at: clock))
        if had != hasHad { return had < hasHad }
        if left.handedSlots != right.handedSlots { return left.handedSlots < right.handedSlots }
        return one.key < other.key
    }

    /// Gives this job to the slots, if there is room. One that goes on after a pause is never ahead: its machine is on the owner's
    /// account until it has a slot.
    private mutating func hand(_ key: JobKey, _ place: Int) -> SchedulerAction? {
        guard let job = jobs[key], job.memoryBytes <= limits.memoryBytes - memoryBytes else { return nil }
        if case .requeued = job.state {
            guard hasFree(job.slots) else { return nil }
            take(key, place, .running(since: clock))
            begin(job, at: clock)
            return .resume(key)
        }
        guard hasFree(job.slots) || mayGoAhead(job) else { return nil }
        let spot = spot(for: job, place)
        take(key, place, .handed)
        lineSlots += job.slots
        accounts[place].joinLine(slots: job.slots)
        line.insert(key, at: spot ?? line.count)
        return .start(key, before: spot.map { line[$0 + 1] })
    }

    private mutating func take(_ key: JobKey, _ place: Int, _ state: State) {
        guard let job = jobs[key] else { return }
        jobs[key]?.state = state
        accounts[place].line.removeFirst()
        lineCount -= 1
        if job.slots > 1 { wideCount += 1 }
        memoryBytes += job.memoryBytes
        accounts[place].memoryBytes += job.memoryBytes
    }

    /// One job of a tenant may, and more if they are short; and one that has to go before all that its tenant has there. None that is
    /// wide, and none beside one that is.
    private func mayGoAhead(_ job: Job) -> Bool {
        guard limits.ahead > 0, wideCount == 0, job.slots == 1 else { return false }
        let account = accounts[job.account]
        return account.aheadCount == 0 || mayGoAheadAsWell(account)
            || line.allSatisfy { key in
                jobs[key].map { $0.account != job.account || $0.priority < job.priority } ?? true
            }
    }

    private func mayGoAheadAsWell(_ account: TenantAccount) -> Bool {
        let sharers = accounts.reduce(0) { $0 + ($1.isActive ? 1 : 0) }
        guard let mean = account.meanTime, account.aheadCount < limits.ahead / sharers else { return false }
        return mean <= Self.aheadTime * UInt64(limits.slots) / UInt64(account.aheadCount + 1)
    }

    /// Where in the line the job goes: before all that others have there who will have had more by then, and before its own tenant's
    /// of lower priority. nil is the end.
    private func spot(for job: Job, _ place: Int) -> Int? {
        guard let last = line.last.flatMap({ jobs[$0] }) else { return nil }
        if last.account == place, last.priority >= job.priority { return nil }
        let (had, running) = (accounts[place].slotTimeAhead(at: clock), accounts[place].runningSlots)
        var counts: [Int: UInt64] = [:]
        var spot: Int?
        for (index, key) in line.enumerated() {
            guard let other = jobs[key] else { continue }
            if other.account == place {
                spot = other.priority >= job.priority ? nil : spot ?? index
                continue
            }
            let owner = accounts[other.account]
            let hasHad = owner.slotTime(at: clock) &+ counts[other.account, default: 0] &* (owner.meanTime ?? 0)
            counts[other.account, default: 0] += UInt64(other.slots)
            if spot == nil, hasHad > had || hasHad == had && owner.runningSlots > running { spot = index }
        }
        return spot
    }

    // MARK: Prospects

    /// How many jobs are likely to start before this one, which is not in the queue yet, and how long that may take: its own
    /// tenant's, and of each other tenant as many.
    func prospect(of request: JobRequest, _ place: Int) -> (position: Int, waitNanoseconds: UInt64?) {
        if hasFree(request.slots) && lineCount == 0 { return (0, 0) }
        let account = accounts[place]
        let own = account.line.countBefore(request.priority) + account.aheadCount
        let others = accounts.indices.reduce(0) { $0 + ($1 == place ? 0 : min(accounts[$1].queuedCount, own)) }
        let position = own + others
        let turns = UInt64(position / limits.slots + 1)
        return (
            position,
            meanTime.map { $0.multipliedReportingOverflow(by: turns) }.flatMap { $0.overflow ? nil : $0.partialValue }
        )
    }

    /// When one more of the tenant's jobs may be taken: about when the next one of them has left.
    func retryTime(of tenant: Tenant) -> UInt64 {
        guard let mean = places[tenant].flatMap({ accounts[$0].meanTime }) ?? meanTime else { return Self.longRetry }
        let sharers = UInt64(max(1, accounts.count(where: \.isActive)))
        return max(Self.shortRetry, mean / UInt64(limits.slots) &* sharers)
    }
}
