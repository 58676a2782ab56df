// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobStore
internal import VMRuntime

/// A job that waits on the disk.
struct WaitingJob: Sendable {
    let job: DetachedJob
    let submission: StoredSubmission

    var id: UInt64 { job.id }
}

/// How jobs come from the disk to the scheduler.
extension DetachedJobs {
    /// Gives the scheduler as many of this user's jobs as it is to have.
    func feed(_ tenant: Tenant) {
        var feed = feeds[tenant, default: Feed()]
        guard feed.mayHaveMore, !feed.isReading, !dispatcher.isDraining, feed.fed.count < Self.fedJobs else { return }
        feed.isReading = true
        feeds[tenant] = feed
        let (fed, room) = (feed.fed, min(Self.fedJobs - feed.fed.count, Self.jobsPerReading))
        keep { store throws(JobStoreError) in
            try Self.waiting(in: store, of: tenant, besides: fed, atMost: room)
        } then: { [self] result in
            take(result, of: tenant)
        }
    }

    private static func waiting(
        in store: JobStore, of tenant: Tenant, besides fed: Set<UInt64>, atMost limit: Int
    ) throws(JobStoreError) -> [WaitingJob] {
        var (jobs, bytes): ([WaitingJob], Int) = ([], 0)
        for kept in try store.nextWaiting(of: tenant, limit: limit, excluding: fed) where bytes < bytesPerReading {
            guard let submission = try store.submission(of: kept.job.id) else { continue }
            jobs.append(WaitingJob(job: kept.job, submission: submission))
            bytes += submission.payload.count + submission.input.count
        }
        return jobs
    }

    private func take(_ result: Result<[WaitingJob], JobStoreError>, of tenant: Tenant) {
        switch result {
        case .success(let jobs):
            feeds[tenant]?.mayHaveMore = !jobs.isEmpty
            load(jobs[...], of: tenant)
        case .failure(let error):
            dispatcher.log.storeFailed(error)
            feedLater(tenant)
            endReading(of: tenant)
        }
    }

    /// Reads what of the first job's files is not in memory, and hands the job over; then the others.
    private func load(_ jobs: ArraySlice<WaitingJob>, of tenant: Tenant) {
        guard let job = jobs.first, !dispatcher.isDraining else { return endReading(of: tenant) }
        let digests = job.submission.blobs
        let known = digests.compactMap { digest in
            dispatcher.known.image(digest, of: tenant.user).map { Image($0, digest: digest) }
        }
        guard known.count < digests.count else { return begin(job, known, then: jobs.dropFirst(), of: tenant) }
        keep { store throws(JobStoreError) in
            var images: [Image] = []
            for digest in digests {
                try store.blob(digest, of: tenant).map { images.append(Image($0, digest: digest)) }
            }
            return images
        } then: { [self] result in
            switch result {
            case .success(let images): begin(job, images, then: jobs.dropFirst(), of: tenant)
            case .failure(let error):
                dispatcher.log.storeFailed(error)
                feedLater(tenant)
                endReading(of: tenant)
            }
        }
    }

    private func begin(_ job: WaitingJob, _ images: [Image], then rest: ArraySlice<WaitingJob>, of tenant: Tenant) {
        guard !endedMeanwhile.contains(job.id), !dispatcher.isDraining else { return load(rest, of: tenant) }
        do throws(Refusal) {
            try dispatcher.admitDetached(job, images, of: tenant)
            feeds[tenant]?.fed.insert(job.id)
        } catch {
            // There is no room for it now: it goes on waiting where it is.
            guard !error.isRetryable else {
                feedLater(tenant)
                return endReading(of: tenant)
            }
            let result = JobResult(
                outcome: .hostError("the worker does not take this job any more: \(error.message)"))
            feeds[tenant]?.fed.insert(job.id)
            dispatcher.noteEndOfWaiting(job.job, result)
            end(job.id, of: tenant, result)
        }
        load(rest, of: tenant)
    }

    private func endReading(of tenant: Tenant) {
        feeds[tenant]?.isReading = false
        if !isReading { endedMeanwhile = [] }
        feed(tenant)
    }

    private var isReading: Bool { feeds.values.contains(where: \.isReading) }

    /// A job that waits on the disk has ended there. What is being read may still have it.
    func noteEndMeanwhile(_ id: UInt64) {
        if isReading { endedMeanwhile.insert(id) }
    }

    /// Tries again after a while, and not before.
    func feedLater(_ tenant: Tenant) {
        feeds[tenant]?.mayHaveMore = false
        later { jobs in
            jobs.feeds[tenant]?.mayHaveMore = true
            jobs.feed(tenant)
        }
    }
}
