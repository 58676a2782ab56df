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
        var mode: GuestMode
        /// The snapshot that it starts from, if it does.
        var use: SnapshotStore<Snapshot>.Use?

        /// What the scheduler has to know of it.
        func request(_ spec: JobSpec, of owner: Tenant) -> JobRequest {
            JobRequest(
                tenant: owner, priority: spec.priority, holding: holding, memoryBytes: runningBytes(spec),
                slots: max(1, spec.vcpus))
        }

        /// Bytes of host memory that it may take when it runs.
        func runningBytes(_ spec: JobSpec) -> UInt64 {
            let scratch = spec.program?.scratchBytes ?? 0
            // A machine has a copy of its ROM.
            let rom = spec.isROM ? JobSpec.maximumROMBytes : 0
            return [memoryBytes, scratch, rom, WorkerLimits.machineOverhead].reduce(0) { sum, part in
                let total = sum.addingReportingOverflow(part)
                return total.overflow ? .max : total.partialValue
            }
        }
    }

    func prepare(
        _ spec: JobSpec, _ source: JobSource, named name: () -> ContentDigest?, for peer: Peer
    ) throws(Refusal) -> PreparedJob {
        switch source {
        case .image(let image):
            return try prepare(spec, keeping: [image], named: name, for: peer) { known, user throws(Refusal) in
                try known.start(of: image, spec, of: user)
            }
        case .program(let layers):
            return try prepare(spec, keeping: layers, named: name, for: peer) { known, user throws(Refusal) in
                try known.start(ofProgram: layers, spec, of: user)
            }
        case .snapshot(let name): return try prepare(spec, from: name, for: peer)
        }
    }

    private func prepare(
        _ spec: JobSpec, keeping images: [Image], named name: () -> ContentDigest?, for peer: Peer,
        start: (inout KnownImages, UInt32?) throws(Refusal) -> KnownImages.Start
    ) throws(Refusal) -> PreparedJob {
        let terms = try snapshotTerms(spec, name, for: peer)
        // Kept whatever becomes of this job: the next one that names the digests may be another.
        for image in images { known.keep(image, of: peer.tenant) }
        // A detached job waits on the disk, whatever waits here.
        if spec.detachment == nil { try scheduler.checkRoom(for: peer.owner) }
        let start = try start(&known, peer.tenant)
        let job = try AdmittedJob(
            start.point, spec: spec, keeping: terms, on: backend.profile,
            reusesMachine: keeping.mayKeepMachine(memoryBytes: spec.memoryBytes, of: peer.tenant))
        // The start may be in the cache, which may drop it: so it is on this account too, once for all that wait for it.
        return PreparedJob(job: job, holding: start.holding(spec), memoryBytes: spec.memoryBytes, mode: spec.mode)
    }

    /// Nil for a job that is not to end as a snapshot.
    private func snapshotTerms(
        _ spec: JobSpec, _ name: () -> ContentDigest?, for peer: Peer
    ) throws(Refusal) -> SnapshotTerms? {
        guard spec.snapshot != nil, let name = name() else { return nil }
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
                job: job, holding: Holding(bytes: spec.listBytes), memoryBytes: snapshot.memoryBytes,
                mode: snapshot.mode,
                use: use)
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
