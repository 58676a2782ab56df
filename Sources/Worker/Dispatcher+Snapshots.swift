// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobScheduling
internal import VMRuntime

/// Where jobs come from, and what of them is kept for others.
extension Dispatcher {
    /// A job that can be queued.
    struct PreparedJob {
        var job: AdmittedJob
        /// What it keeps in memory while it waits. A snapshot is not part of that: it is on the store's account.
        var holding: Holding
        var memoryBytes: UInt64
        /// The snapshot that it starts from, if it does.
        var use: SnapshotStore<Snapshot>.Use?
    }

    func prepare(
        _ spec: JobSpec, _ source: JobSource, named name: (Image) -> ContentDigest?, for peer: Peer
    ) throws(Refusal) -> PreparedJob {
        switch source {
        case .image(let image):
            let terms = try snapshotTerms(spec, name, image, for: peer)
            // Kept whatever becomes of this job: the next one that names the digest may be another.
            known.keep(image, of: peer.tenant)
            try scheduler.checkRoom()
            let start = try known.start(of: image, spec, of: peer.tenant)
            let job = try AdmittedJob(
                start.point, spec: spec, keeping: terms, on: backend.profile,
                reusesMachine: keeping.mayKeepMachine(memoryBytes: spec.memoryBytes, of: peer.tenant))
            // The start may be in the cache, which may drop it: so it is on this account too, once for all that wait for it.
            let holding = Holding(
                bytes: spec.listBytes, shared: .init(number: start.number, bytes: start.point.byteCount))
            return PreparedJob(job: job, holding: holding, memoryBytes: spec.memoryBytes)
        case .snapshot(let name): return try prepare(spec, from: name, for: peer)
        }
    }

    /// Nil for a job that is not to end as a snapshot.
    private func snapshotTerms(
        _ spec: JobSpec, _ name: (Image) -> ContentDigest?, _ image: Image, for peer: Peer
    ) throws(Refusal) -> SnapshotTerms? {
        guard spec.snapshot != nil, let name = name(image) else { return nil }
        guard peer.tenant != nil else {
            throw Refusal(
                .invalidField, "a snapshot could not be kept, for this connection's user cannot be told from others")
        }
        return SnapshotTerms(name: name, byteLimit: limits.snapshotBytes)
    }

    private func prepare(_ spec: JobSpec, from name: ContentDigest, for peer: Peer) throws(Refusal) -> PreparedJob {
        guard let (snapshot, use) = try use(name, of: peer) else {
            throw Refusal(
                .snapshotUnknown,
                "this worker has no snapshot of that name for this user, or no more: take it again with kvmjob snapshot"
            )
        }
        do throws(Refusal) {
            let job = try AdmittedJob(
                from: snapshot, spec: spec, on: backend.profile,
                reusesMachine: keeping.mayKeepMachine(memoryBytes: snapshot.memoryBytes, of: peer.tenant))
            return PreparedJob(
                job: job, holding: Holding(bytes: spec.listBytes), memoryBytes: snapshot.memoryBytes, use: use)
        } catch {
            snapshots.release(use)
            throw error
        }
    }

    private func use(
        _ name: ContentDigest, of peer: Peer
    ) throws(Refusal) -> (content: Snapshot, use: SnapshotStore<Snapshot>.Use)? {
        guard let user = peer.tenant else { return nil }
        do throws(SnapshotStore<Snapshot>.Crowded) {
            return try snapshots.use(.init(owner: user, name: name))
        } catch {
            throw Refusal(
                .queueFull,
                "jobs would start from \(error.bytes) bytes of this user's snapshots, and others want room: "
                    + "a share is \(error.share) bytes, try again when some of the jobs have ended",
                limit: error.share, value: error.bytes)
        }
    }

    /// Keeps the snapshot that a job has ended as, before anybody is told of it.
    func keepingSnapshot(of job: ActiveJob, _ result: JobResult) -> JobResult {
        guard case .snapshotTaken(let name) = result.outcome, let snapshot = job.control.takeSnapshot() else {
            return result
        }
        if let user = job.peer.tenant,
            snapshots.keep(snapshot, as: .init(owner: user, name: name), bytes: snapshot.heldBytes)
        {
            return result
        }
        var result = result
        result.outcome = .hostError(
            "the snapshot cannot be kept: jobs that start from others use all the room for snapshots: "
                + "try again when some have ended")
        return result
    }
}
