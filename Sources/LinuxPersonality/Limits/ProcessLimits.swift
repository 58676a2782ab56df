// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// `RLIMIT_*`, by the numbers of `asm/resource.h`.
enum Resource: UInt32, Sendable, CaseIterable {
    case processorTime = 0
    case fileBytes, dataBytes, stackBytes, coreBytes, residentBytes, threads, descriptors, lockedBytes, addressBytes
    case locks, pendingSignals, queueBytes, niceness, realTimePriority, realTimeSlice
}

/// A soft and a hard limit: `struct rlimit64`.
struct ResourceLimit: Sendable, Hashable {
    static let infinity = UInt64.max
    /// Its size in memory.
    static let bytes = 16

    var soft: UInt64
    var hard: UInt64

    init(_ soft: UInt64, _ hard: UInt64) { (self.soft, self.hard) = (soft, hard) }
}

/// What a process is told of its limits. What is really enforced are the job's own; a process can set for itself what it likes, below
/// that, and nothing goes by it.
struct ProcessLimits: Sendable {
    private var changed: [Resource: ResourceLimit] = [:]

    /// - Parameter memoryBytes: the job's memory.
    func limit(_ resource: Resource, memoryBytes: UInt64) -> ResourceLimit {
        changed[resource] ?? Self.initial(resource, memoryBytes)
    }

    private static func initial(_ resource: Resource, _ memoryBytes: UInt64) -> ResourceLimit {
        let infinity = ResourceLimit.infinity
        func both(_ limit: Int) -> ResourceLimit { ResourceLimit(UInt64(limit), UInt64(limit)) }
        return switch resource {
        // What is private and writable is charged; address space is free.
        case .dataBytes: ResourceLimit(memoryBytes, memoryBytes)
        case .stackBytes: ResourceLimit(AddressLayout.stackBytes, infinity)
        case .coreBytes: ResourceLimit(0, infinity)
        case .threads: both(ThreadTable.limit)
        case .descriptors: both(DescriptorTable.limit)
        case .pendingSignals: both(PendingSignals.limit)
        case .lockedBytes: both(8 << 20)
        case .queueBytes, .niceness, .realTimePriority: both(0)
        case .processorTime, .fileBytes, .residentBytes, .addressBytes, .locks, .realTimeSlice:
            ResourceLimit(infinity, infinity)
        }
    }

    /// - Throws: EINVAL for a soft limit above the hard one, EPERM for a hard one above what it was.
    mutating func set(_ resource: Resource, to new: ResourceLimit, memoryBytes: UInt64) throws(Errno) {
        guard new.soft <= new.hard else { throw .einval }
        guard new.hard <= limit(resource, memoryBytes: memoryBytes).hard else { throw .eperm }
        changed[resource] = new
    }
}
