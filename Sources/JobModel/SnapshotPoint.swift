// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// When a job's machine is kept as a snapshot. The job ends there.
public enum SnapshotPoint: Sendable, Hashable {
    /// Behind the guest's write to the ready port, 0xF5.
    case ready
    /// After this many steps.
    case steps(UInt64)
    /// Before the instruction at this linear address, the first time the guest gets there.
    case address(UInt64)
}

/// What a job starts from.
public enum JobSource: Sendable, Hashable {
    /// An image.
    case image(Image)
    /// A Linux program's files: archives, the lowest first. Each has its digest.
    case program([Image])
    /// A snapshot that the worker has, by name.
    case snapshot(ContentDigest)
}
