// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling
internal import JobStore
internal import KVM
internal import VMRuntime

/// A job that a client wants to hand over.
struct DetachedOffer {
    var spec: JobSpec
    let source: JobSource
    /// The SUBMIT's payload, as it came.
    let submission: [UInt8]
    let input: [UInt8]
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
        keep { store throws(JobStoreError) in try store.add(job) } then: { [self] result in
            answer(judge(result, id: id, offer))
        }
    }

    /// The spec with a bound on its output, since all of that is kept.
    private func kept(_ spec: JobSpec) throws(Refusal) -> JobSpec {
        var spec = spec
        let budget = spec.budget.outputBytes ?? limits.outputBytes
        guard budget <= limits.outputBytes else {
            throw Refusal(
                .budgetRange,
                "the output of a detached job is kept, and no more than \(limits.outputBytes) bytes of it: its budget is "
                    + "\(budget)", limit: limits.outputBytes, value: budget, limitName: "detached-output")
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
        return NewJob(
            id: id, user: offer.peer.owner, key: offer.detachment.key, keyDigest: Submit.identity(of: offer.submission),
            priority: offer.spec.priority, title: JobTitle(offer.spec).text, submission: offer.submission,
            blobs: images.compactMap { image in
                image.digest.map { NewJob.Blob(digest: $0.bytes, bytes: image.bytes) }
            },
            input: offer.spec.hasInput ? offer.input : nil, acceptedAt: RealtimeClock.seconds)
    }

    private func judge(
        _ result: Result<JobStore.Addition, JobStoreError>, id: UInt64, _ offer: DetachedOffer
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
        case .success(.full(let name, let limit, let value)):
            return .failure(
                Refusal(
                    .tenantLimit,
                    "this user's detached jobs that have not ended leave no room for another: try again when some have",
                    limit: limit, value: value, limitName: name,
                    retryNanoseconds: UInt64(Self.patience.nanoseconds)))
        case .failure(let error):
            dispatcher.log.storeFailed(error)
            return .failure(Refusal(.queueFull, "the worker could not keep the job: \(error)"))
        }
    }
}
