// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling
internal import JobStore
internal import KVM
internal import NIOCore

/// The jobs that clients have handed over: kept on disk from acceptance until they are forgotten. Confined to the event loop.
///
/// They wait on the disk, as many as there may be, and come to the scheduler a few at a time, each user's by themselves. After a
/// worker's end the next one finds there what has not ended, and goes on with it. Clients read of a job what is on the disk, and
/// nothing else, whether it waits, runs or has ended.
final class DetachedJobs {
    /// Jobs of one user that the scheduler has at once: 256.
    static let fedJobs = 256
    /// Jobs that are read from the disk at a time, and bytes of their submissions and inputs, of which one job alone may have more.
    static let jobsPerReading = 64
    static let bytesPerReading = 8 << 20
    /// How long nothing is tried again that the disk, or a lack of room, did not let be: 1 s.
    static let patience = TimeAmount.seconds(1)
    /// How often it is looked whether something has been kept for long enough: 60 s.
    static let expiryInterval = TimeAmount.seconds(60)

    /// One user's jobs on their way to the scheduler.
    struct Feed {
        /// Those that the scheduler has, and those whose end is on its way to the disk.
        var fed: Set<UInt64> = []
        var isReading = false
        /// Whether the disk may have more that waits.
        var mayHaveMore = true
    }

    unowned let dispatcher: Dispatcher
    let keeper: JobKeeper
    let limits: DetachedLimits
    let eventLoop: any EventLoop
    var feeds: [Tenant: Feed] = [:]
    /// What has ended on the disk while waiting jobs were being read from there.
    var endedMeanwhile: Set<UInt64> = []
    var readers: [UInt64: [AttachedReader]] = [:]
    /// What has been asked of the disk and not been told of.
    private var pending = 0

    init(_ keeper: JobKeeper, limits: DetachedLimits, of dispatcher: Dispatcher, on eventLoop: any EventLoop) {
        (self.keeper, self.limits, self.dispatcher, self.eventLoop) = (keeper, limits, dispatcher, eventLoop)
    }

    /// Whether nothing is on its way to the disk or from there.
    var isQuiet: Bool { pending == 0 }

    /// Has something done with the store, and goes on when it is on the disk.
    func keep<Value: Sendable>(
        _ change: @escaping @Sendable (JobStore) throws(JobStoreError) -> Value,
        then: @escaping (Result<Value, JobStoreError>) -> Void
    ) {
        pending += 1
        dispatcher.noteWork()
        let bound = NIOLoopBound((dispatcher, self, then), eventLoop: eventLoop)
        keeper.perform(on: eventLoop, change) { result in
            let (dispatcher, jobs, then) = bound.value
            jobs.pending -= 1
            then(result)
            if jobs.pending == 0 { dispatcher.noteProgress() }
        }
    }

    /// Does something after a while, if there still is a worker.
    func later(_ delay: TimeAmount = DetachedJobs.patience, _ work: @escaping (DetachedJobs) -> Void) {
        eventLoop.assumeIsolated().scheduleTask(in: delay) { [weak self] in
            if let self { work(self) }
        }
    }

    // MARK: Beginning

    /// Goes on with what an earlier worker left behind.
    func recover() {
        keep { store throws(JobStoreError) in
            try Inheritance(from: store)
        } then: { [self] result in
            switch result {
            case .success(let left):
                for worn in left.worn { dispatcher.noteEndOfWaiting(worn, left.result) }
                left.tenants.forEach(feed)
            case .failure(let error): dispatcher.log.storeFailed(error)
            }
        }
        expireAgainAndAgain()
    }

    private func expireAgainAndAgain() {
        expire()
        later(Self.expiryInterval) { $0.expireAgainAndAgain() }
    }

    private func expire() {
        keep { store throws(JobStoreError) in
            try store.expire(now: RealtimeClock.seconds)
        } then: { [self] result in
            switch result {
            case .success(JobStore.expiredAtOnce): expire()
            case .success: break
            case .failure(let error): dispatcher.log.storeFailed(error)
            }
        }
    }
}

/// What an earlier worker has left in the store.
private struct Inheritance: Sendable {
    /// Jobs that are not started again, and how they end.
    let worn: [DetachedJob]
    let result = JobResult(
        outcome: .hostError(
            "the worker ended \(JobStore.cutLimit) times while it ran this job, which is not started again"))
    /// Whose jobs wait.
    let tenants: [Tenant]

    /// Ends what has brought down the worker again and again.
    init(from store: JobStore) throws(JobStoreError) {
        worn = try store.worn().map(\.job)
        for job in worn { try store.finish(job.id, Ending(result)) }
        tenants = try store.tenantsWaiting()
    }
}
