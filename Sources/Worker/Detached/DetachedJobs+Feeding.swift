// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobStore
internal import VMRuntime

/// How jobs come from the disk to the scheduler.
extension DetachedJobs {
    /// Jobs that were read.
    struct Found: Sendable {
        let jobs: [WaitingJob]
        /// Whether there may be more.
        let more: Bool
    }

    /// Gives the scheduler as many of this user's jobs as it is to have.
    func feed(_ tenant: Tenant) {
        var feed = feeds[tenant, default: Feed()]
        guard feed.mayHaveMore, !feed.isReading, !dispatcher.isDraining, feed.fed.count < Self.fedJobs else { return }
        feed.isReading = true
        feeds[tenant] = feed
        let (fed, room) = (feed.fed, min(Self.fedJobs - feed.fed.count, Self.jobsPerReading))
        keep { store throws(JobStoreError) in
            let jobs = try store.waiting(of: tenant, besides: fed, atMost: room, bytes: Self.bytesPerReading)
            return Found(jobs: jobs, more: !jobs.isEmpty)
        } then: { [self] result in
            take(result, of: tenant)
        }
    }

    private func take(_ result: Result<Found, JobStoreError>, of tenant: Tenant) {
        switch result {
        case .success(let found):
            feeds[tenant]?.mayHaveMore = found.more
            let jobs = found.jobs.filter { !endedMeanwhile.contains($0.id) }
            load(jobs[...], of: tenant)
        case .failure(let error):
            dispatcher.log.storeFailed(error)
            feeds[tenant]?.isReading = false
            feedLater(tenant)
        }
    }

    /// Reads what of the first job's files is not in memory, and hands the job over; then the others.
    private func load(_ jobs: ArraySlice<WaitingJob>, of tenant: Tenant) {
        guard let job = jobs.first, !dispatcher.isDraining else { return endReading(of: tenant) }
        let known = job.blobs.map { dispatcher.known.image($0.digest, bytes: $0.bytes, of: tenant.user) }
        guard known.contains(nil) else {
            let images = zip(job.blobs, known).compactMap { blob, bytes in bytes.map { Image($0, digest: blob.digest) } }
            return begin(job, images, then: jobs.dropFirst(), of: tenant)
        }
        keep { store throws(JobStoreError) in
            var images: [Image] = []
            for blob in job.blobs {
                images.append(Image(try store.blob(blob.digest, of: tenant), digest: blob.digest))
            }
            return images
        } then: { [self] result in
            switch result {
            case .success(let images): begin(job, images, then: jobs.dropFirst(), of: tenant)
            case .failure(let error):
                dispatcher.log.storeFailed(error)
                endReading(of: tenant)
                feedLater(tenant)
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
                endReading(of: tenant)
                return feedLater(tenant)
            }
            feeds[tenant]?.fed.insert(job.id)
            end(
                job.id, of: tenant,
                JobResult(outcome: .hostError("the worker does not take this job any more: \(error.message)")))
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

    /// Tries again after a while.
    private func feedLater(_ tenant: Tenant) {
        guard feeds[tenant]?.mayHaveMore != nil else { return }
        feeds[tenant]?.mayHaveMore = false
        eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { [weak self] in
            self?.feeds[tenant]?.mayHaveMore = true
            self?.feed(tenant)
        }
    }
}
