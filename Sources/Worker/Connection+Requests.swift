// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobProtocol
internal import JobScheduling

/// What a client asks of the worker and of detached jobs. Where the disk has to be asked, the answer comes later: a connection that is
/// gone by then does nothing with it.
extension Connection {
    func answer(_ query: Query) {
        dispatcher.answer(query, for: peer) { [weak self] answer in
            guard let self else { return }
            perform(session.answer(answer))
        }
    }

    func answer(_ request: StopRequest) {
        dispatcher.stop(request, for: peer) { [weak self] answer in
            guard let self else { return }
            perform(session.stopAnswered(answer))
        }
    }

    /// Hands a job over; tells the client when it is kept.
    func detach(_ job: UInt32, _ spec: JobSpec, _ source: JobSource) {
        do throws(Refusal) {
            guard let detached = dispatcher.detached, let detachment = spec.detachment,
                let submission = session.submission(of: job), let identity = session.submissionDigest(of: job, source)
            else {
                throw Refusal(
                    .detachUnavailable,
                    "this worker keeps no jobs, as it has no state directory: submit the job without detaching it, or give kvmjobd "
                        + "a --state-dir")
            }
            let offer = DetachedOffer(
                spec: spec, source: source, submission: submission, input: session.input(of: job), identity: identity,
                detachment: detachment, peer: peer)
            try detached.accept(offer) { [weak self] result in
                guard let self else { return }
                switch result {
                case .success(let acceptance): perform(session.accepted(job, acceptance))
                case .failure(let refusal): perform(session.refused(job, refusal))
                }
            }
        } catch {
            perform(session.refused(job, error))
        }
    }

    func attach(_ job: UInt32, _ request: AttachRequest) {
        guard let detached = dispatcher.detached else {
            return perform(
                session.refused(
                    job, Refusal(.jobUnknown, "this worker keeps no jobs, so none with that number", value: request.id))
            )
        }
        let reader = AttachedReader(request, number: job, of: self)
        readers[job] = reader
        detached.attach(reader, request, of: peer.owner) { [weak self] result in
            guard let self else { return }
            switch result {
            case .success(let found): perform(session.attached(job, state: found))
            case .failure(let refusal):
                readers[job] = nil
                perform(session.refused(job, refusal))
            }
        }
    }

    func addCredit(_ bytes: Int, to job: UInt32) {
        if let reader = readers[job] {
            reader.credit += bytes
            dispatcher.detached?.pump(reader)
        } else {
            keys[job].map { dispatcher.addCredit(bytes, to: $0) }
        }
    }

    /// A client that is gone lets go of a detached job; one that is there stops it.
    func cancel(_ job: UInt32, by canceller: Canceller) {
        guard let reader = readers[job] else {
            keys[job].map { dispatcher.cancel($0, by: canceller) }
            return
        }
        guard canceller == .disconnect else { return dispatcher.stop(.jobs([reader.job]), for: peer) { _ in } }
        dispatcher.detached?.drop(reader)
        reader.letGo()
    }
}

/// Where output comes from.
enum OutputSource {
    case job(JobKey)
    case reader(AttachedReader)
}
