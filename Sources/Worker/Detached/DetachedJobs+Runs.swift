// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling
internal import JobStore
internal import KVM

/// What becomes of jobs that the scheduler has.
extension DetachedJobs {
    /// A slot has begun it: what an earlier run wrote is dropped.
    func started(_ job: ActiveJob) {
        let id = job.key.number
        keep { store throws(JobStoreError) in
            try store.noteStart(id)
        } then: { [self] result in
            if case .failure(let error) = result { giveUp(job, error) }
        }
    }

    /// Keeps what the guest has written. It may write as much more when that is on the disk.
    func keepOutput(_ channel: OutputChannel, _ bytes: [UInt8], of job: ActiveJob) {
        guard !bytes.isEmpty else { return }
        let id = job.key.number
        keep { store throws(JobStoreError) in
            try store.append(id, channel, bytes)
        } then: { [self] result in
            if case .failure(let error) = result { return giveUp(job, error) }
            dispatcher.flushed(bytes.count, of: job.key)
            dispatcher.addCredit(bytes.count, to: job.key)
            notify(id)
        }
    }

    /// It has ended, and its result is kept.
    func ended(_ job: ActiveJob, _ result: JobResult) {
        guard !job.isGivenUp else { return left(job) }
        end(job.key.number, of: job.peer.owner, result)
    }

    /// Keeps a result and lets the next job come.
    func end(_ id: UInt64, of tenant: Tenant, _ result: JobResult) { end(id, of: tenant, Ending(result)) }

    /// Where the disk does not let a result be kept, that is tried again after a while, for the job has been done. Only a worker that
    /// leaves gives it up, and the next one runs the job again.
    private func end(_ id: UInt64, of tenant: Tenant, _ ending: Ending) {
        keep { store throws(JobStoreError) in
            try store.finish(id, ending)
        } then: { [self] outcome in
            if case .failure(let error) = outcome {
                dispatcher.log.storeFailed(error)
                guard !dispatcher.isDraining else { return giveBack(id, of: tenant) }
                return later { $0.end(id, of: tenant, ending) }
            }
            feeds[tenant]?.fed.remove(id)
            notify(id)
            feed(tenant)
        }
    }

    /// It was stopped without an end, so that the next worker goes on with it.
    func left(_ job: ActiveJob) { giveBack(job.key.number, of: job.peer.owner) }

    /// What it writes cannot be kept: it is stopped, and starts anew when the disk lets it.
    private func giveUp(_ job: ActiveJob, _ error: JobStoreError) {
        guard !job.isGivenUp else { return }
        job.isGivenUp = true
        dispatcher.log.storeFailed(error)
        dispatcher.cancel(job.key, by: .drain)
    }

    /// It waits on the disk again. Where not even that can be noted, it is tried again after a while.
    private func giveBack(_ id: UInt64, of tenant: Tenant) {
        keep { store throws(JobStoreError) in
            try store.putBack(id)
        } then: { [self] result in
            switch result {
            case .success:
                feeds[tenant]?.fed.remove(id)
                // Not at once: what the disk does not take now, it would not take of another run either.
                feedLater(tenant)
            case .failure(let error):
                dispatcher.log.storeFailed(error)
                guard !dispatcher.isDraining else { return }
                later { $0.giveBack(id, of: tenant) }
            }
        }
    }
}

/// A result as the store keeps it.
struct Ending: Sendable {
    let outcome: UInt8
    /// The RESULT message.
    let report: [UInt8]

    init(_ result: JobResult) {
        let report = ResultReport(result)
        (outcome, self.report) = (report.outcome.rawValue, report.payload)
    }
}

extension JobStore {
    /// The job has ended now.
    func finish(_ id: UInt64, _ ending: Ending) throws(JobStoreError) {
        try finish(id, outcome: ending.outcome, result: ending.report, at: RealtimeClock.seconds)
    }
}
