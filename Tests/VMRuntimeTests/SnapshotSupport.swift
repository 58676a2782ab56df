// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

/// A job that was to end as a snapshot.
struct SnapshotRun {
    let run: Run
    /// What it ended as, if it got there.
    let snapshot: Snapshot?

    static let name = ContentDigest([UInt8](repeating: 0xA5, count: ContentDigest.byteCount))

    /// Runs an image up to a point.
    static func of(
        _ image: [UInt8], _ spec: JobSpec, at point: SnapshotPoint, byteLimit: UInt64 = 1 << 30
    ) async throws -> SnapshotRun {
        var spec = spec
        spec.snapshot = point
        let terms = SnapshotTerms(name: try #require(name), byteLimit: byteLimit)
        let job = try AdmittedJob(image: image, spec: spec, keeping: terms, on: Hardware.backend.get().profile)
        let control = JobControl(hasInput: false)
        return SnapshotRun(run: try await Run.of(job, control: control), snapshot: control.takeSnapshot())
    }

    /// The snapshot of an image that gets to its point.
    static func taken(_ image: [UInt8], _ spec: JobSpec, at point: SnapshotPoint) async throws -> Snapshot {
        let run = try await of(image, spec, at: point)
        #expect(try run.run.result.outcome == .snapshotTaken(try #require(name)))
        return try #require(run.snapshot)
    }
}

extension Run {
    /// Runs a job from a snapshot on a slot of its own and waits for its end.
    static func of(
        _ snapshot: Snapshot, _ spec: JobSpec = JobSpec(), input: [UInt8] = [], slot: Slot? = nil,
        reusesMachine: Bool = false
    ) async throws -> Run {
        let job = try AdmittedJob(
            from: snapshot, spec: spec, on: Hardware.backend.get().profile, reusesMachine: reusesMachine)
        return try await of(job, input: input, slot: slot)
    }
}
