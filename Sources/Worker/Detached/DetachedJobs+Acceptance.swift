// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling
internal import JobStore
internal import KVM
internal import NIOCore
internal import VMRuntime

/// A job that a client wants to hand over.
struct DetachedOffer {
    var spec: JobSpec
    let source: JobSource
    /// The SUBMIT's payload, as it came.
    let submission: [UInt8]
    let input: [UInt8]
    /// What the submission is known again by.
    let identity: ContentDigest
    let detachment: Detachment
    let peer: Peer
}

/// How jobs come.
extension DetachedJobs {
    /// Takes a job over, or says why not, when that is on the disk.
    ///
    /// - Throws: what can be told at once.
    func accept(
        _ offer: DetachedOffer, answer: @escaping (Result<Acceptance, Refusal>) -> Void
    ) throws(Refusal) {
        guard offer.peer.tenant != nil else {
            throw Refusal(
                .detachUnavailable,
                "the job could not be kept for its user, for this connection's user cannot be told from others")
        }
        let spec = try kept(offer.spec)
        try dispatcher.checkDetached(spec, offer.source, for: offer.peer)
        let id = dispatcher.nextID()
        let job = newJob(offer, id: id)
        keep { store throws(JobStoreError) in
            try store.add(job)
        } then: { [self] result in
            answer(judge(result, id: id, offer))
        }
    }

    /// The spec with a bound on its output, since all of that is kept.
    private func kept(_ spec: JobSpec) throws(Refusal) -> JobSpec {
        var spec = spec
        let budget = spec.budget.outputBytes ?? limits.output
        guard budget <= limits.output else {
            throw Refusal(
                .budgetRange,
                "the output of a detached job is kept, and no more than \(limits.output) bytes of it: its budget is "
                    + "\(budget)", limit: limits.output, value: budget, limitName: "detached-output")
        }
        spec.budget.outputBytes = budget
        return spec
    }

    private func newJob(_ offer: DetachedOffer, id: UInt64) -> NewJob {
        let images: [Image] =
            switch offer.source {
            case .image(let image): [image.hashed]
            case .program(let layers): layers.map(\.hashed)
            case .snapshot: []
            }
        var job = NewJob(id: id, tenant: offer.peer.owner, submissionDigest: offer.identity)
        (job.key, job.priority) = (offer.detachment.key, offer.spec.priority)
        (job.title, job.acceptedAt) = (JobTitle(offer.spec).text, RealtimeClock.seconds)
        (job.submission, job.input) = (offer.submission, offer.input)
        job.blobs = images.compactMap { image in
            image.digest.map { NewJob.Blob(digest: $0, bytes: image.bytes) }
        }
        return job
    }

    private func judge(
        _ result: Result<Addition, JobStoreError>, id: UInt64, _ offer: DetachedOffer
    ) -> Result<Acceptance, Refusal> {
        switch result {
        case .success(.added):
            dispatcher.noteDetached(id, offer)
            feeds[offer.peer.owner, default: Feed()].mayHaveMore = true
            feed(offer.peer.owner)
            return .success(Acceptance(id: id))
        case .success(.repeated(let other)):
            var acceptance = Acceptance(id: other)
            acceptance.isRepeated = true
            return .success(acceptance)
        case .success(.conflicting(let other)):
            return .failure(
                Refusal(
                    .keyTaken,
                    "the key \(offer.detachment.key ?? "") is that of job \(other), which is another job: use another key, "
                        + "or forget that one", value: other))
        case .success(.full(let fullness)): return .failure(Self.refusal(fullness))
        case .failure(let error):
            dispatcher.log.storeFailed(error)
            return .failure(Refusal(.queueFull, "the worker could not keep the job: \(error)"))
        }
    }

    private static func refusal(_ fullness: Addition.Fullness) -> Refusal {
        let (name, limit, value): (String, UInt64, UInt64) =
            switch fullness {
            case .jobs(let limit, let unfinished): ("tenant-detached-jobs", UInt64(limit), UInt64(unfinished) + 1)
            case .bytes(let limit, let needed): ("tenant-detached-bytes", limit, needed)
            }
        return Refusal(
            .tenantLimit,
            "this user's detached jobs that have not ended leave no room for another: try again when some have",
            limit: limit, value: value, limitName: name, retryNanoseconds: UInt64(patience.nanoseconds))
    }
}
