// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A job's name inside the worker: unique for the worker's life, whatever number its connection gave it.
public struct JobKey: Sendable, Hashable, Comparable {
    /// Counts up from 1 in the order of submission.
    public let number: UInt64

    /// A key by number.
    public init(_ number: UInt64) { self.number = number }

    /// The order of submission.
    public static func < (left: JobKey, right: JobKey) -> Bool { left.number < right.number }
}
