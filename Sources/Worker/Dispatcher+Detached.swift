// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling
internal import JobStore
internal import KVM
internal import VMRuntime

/// What ``DetachedJobs`` has of the dispatcher: jobs that belong to no connection.
extension Dispatcher {
    /// Says why a job that is to be kept could never run.
    func checkDetached(_ spec: JobSpec, _ source: JobSource, for peer: Peer) throws(Refusal) {
        let prepared = try prepare(spec, source, named: { nil }, for: peer)
        try scheduler.check(prepared.request(spec, of: peer.owner))
    }

    func noteDetached(_ id: UInt64, _ offer: DetachedOffer) {
        counters.jobsAccepted += 1
        log.jobAccepted(id, JobTitle(offer.spec), position: 0, peer: offer.peer)
    }

    /// A job that waited on the disk has ended without having come to the scheduler.
    func noteEndOfWaiting(_ job: DetachedJob, _ result: JobResult) {
        let peer = Peer(process: nil, user: job.tenant.user)
        log.jobFinished(job.id, JobTitle(text: job.title), result, peer: peer)
        note(result, of: job.tenant, hasStarted: false)
    }

    /// Gives the scheduler a job that waited on the disk, with what it starts from and all of its input.
    func admitDetached(_ job: WaitingJob, _ images: [Image], of tenant: Tenant) throws(Refusal) {
        let peer = Peer(process: nil, user: tenant.user)
        let spec = try specOfKept(job)
        let source: JobSource = spec.program == nil ? .image(images.first ?? Image([])) : .program(images)
        let prepared = try prepare(spec, source, named: { nil }, for: peer)
        let key = JobKey(job.id)
        let admission = try scheduler.submit(key, prepared.request(spec, of: tenant), at: MonotonicClock.now)
        let active = ActiveJob(key, of: nil, peer: peer, spec: spec, prepared: prepared)
        enroll(active)
        if spec.hasInput { active.control.appendInput(job.submission.input, end: true) }
        addCredit(OutputGate.windowBytes, to: key)
        perform(admission.actions)
    }

    /// What was accepted once can be read again, but for a worker that does not know it any more.
    private func specOfKept(_ job: WaitingJob) throws(Refusal) -> JobSpec {
        var spec: JobSpec
        do throws(WireError) {
            spec = try Submit.spec(payload: job.submission.payload)
        } catch {
            throw Refusal(.invalidField, "the submission that was kept cannot be read: \(error.message)")
        }
        spec.budget.outputBytes = min(spec.budget.outputBytes ?? .max, limits.detached.output)
        spec.detachment = spec.detachment ?? Detachment()
        return spec
    }

    /// Takes a job back that no slot has begun, so that it waits on the disk. One that runs goes on.
    func leave(_ key: JobKey) {
        guard let job = jobs[key], job.isDetached, job.startedAt == nil else { return }
        perform(scheduler.cancel(key, by: .drain))
    }
}
