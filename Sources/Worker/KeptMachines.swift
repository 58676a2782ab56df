// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobScheduling

/// The machines that are kept for jobs without a slot, against their bounds: a pure account.
///
/// A machine counts from its job's pause until the job has a slot again or has ended.
struct KeptMachines<Owner: Hashable & Sendable>: Sendable {
    /// What may be kept.
    struct Limits: Sendable, Hashable {
        var machines: Int, machinesPerOwner: Int, memoryBytes: UInt64

        /// Bounds on the number of machines, on those of one owner, and on the sum of their guest memory.
        init(machines: Int, machinesPerOwner: Int, memoryBytes: UInt64) {
            (self.machines, self.machinesPerOwner, self.memoryBytes) = (machines, machinesPerOwner, memoryBytes)
        }
    }

    private let limits: Limits
    private var kept: [JobKey: (owner: Owner, memoryBytes: UInt64)] = [:]
    private var ownerCounts: [Owner: Int] = [:]
    /// Guest memory of all kept machines.
    private(set) var memoryBytes: UInt64 = 0

    /// An account without machines.
    init(limits: Limits) { self.limits = limits }

    /// How many machines are kept.
    var count: Int { kept.count }

    /// Counts one machine more. Returns false, and counts nothing, if that would be one too many.
    mutating func keep(_ job: JobKey, of owner: Owner, memoryBytes: UInt64) -> Bool {
        precondition(kept[job] == nil, "a job has one machine")
        guard kept.count < limits.machines, ownerCounts[owner, default: 0] < limits.machinesPerOwner,
            memoryBytes <= limits.memoryBytes - self.memoryBytes
        else { return false }
        kept[job] = (owner, memoryBytes)
        ownerCounts[owner, default: 0] += 1
        self.memoryBytes += memoryBytes
        return true
    }

    /// The job has a slot again, or has ended. Does nothing for a job whose machine is not kept.
    mutating func release(_ job: JobKey) {
        guard let (owner, memoryBytes) = kept.removeValue(forKey: job) else { return }
        self.memoryBytes -= memoryBytes
        let left = ownerCounts[owner, default: 1] - 1
        ownerCounts[owner] = left == 0 ? nil : left
    }
}
