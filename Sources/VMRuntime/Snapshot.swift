// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

public import JobModel
internal import KVM

/// A machine as it was at one instant between two instructions: what any number of later jobs start from, each in a copy of its
/// own.
///
/// It holds memory, the vCPU's state and the devices' settings. Not in it are the time-stamp counter, which goes on with the
/// machine that a job gets, and what belongs to the job that it was taken of: its output, its input, what was counted of it.
public final class Snapshot: Sendable {
    let start: StartingPoint
    /// Whether it was taken of a deterministic job: then those that start from it are.
    let isDeterministic: Bool

    init(_ start: StartingPoint, isDeterministic: Bool) {
        self.start = start
        self.isDeterministic = isDeterministic
    }

    /// Bytes of guest memory, as its jobs see it.
    public var memoryBytes: UInt64 { start.memory.bytes }

    /// How its jobs' vCPU started.
    public var mode: GuestMode { start.mode }

    /// Bytes of host memory that it takes: the pages of guest memory that are not all zeros, and a page for the rest.
    public var heldBytes: UInt64 { UInt64(start.byteCount) + GuestMemory.pageBytes }
}

/// What a snapshot is called, and how large it may be.
public struct SnapshotTerms: Sendable, Hashable {
    /// Its name.
    public var name: ContentDigest
    /// The most bytes of guest memory, in pages that are not all zeros. A guest that has more ends as one that has used up its
    /// memory.
    public var byteLimit: UInt64

    /// A name and a bound.
    public init(name: ContentDigest, byteLimit: UInt64) { (self.name, self.byteLimit) = (name, byteLimit) }
}

extension JobSpec {
    /// The spec of a job from a snapshot, with what the snapshot decides.
    func starting(from snapshot: Snapshot) -> JobSpec {
        var spec = self
        (spec.mode, spec.memoryBytes) = (snapshot.start.mode, snapshot.memoryBytes)
        spec.isDeterministic = snapshot.isDeterministic
        return spec
    }
}
