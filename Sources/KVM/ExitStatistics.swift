// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// How often a vCPU has left the guest, those times included that KVM dealt with itself: `KVM_GET_STATS_FD`.
public struct ExitStatistics: ~Copyable {
    /// The counts at one instant.
    public struct Counts: Sendable, Hashable {
        /// Times that the guest was left.
        public var all: UInt64 = 0
        /// Those among them that no instruction of the guest's brought to an end: interrupts of the host, and pages that KVM had
        /// to map first.
        public var accounted: UInt64 = 0

        /// Nothing counted.
        public init() {}
    }

    private let all: StatisticsCounter
    private let interrupts: StatisticsCounter
    private let pageFaults: StatisticsCounter

    /// nil where the kernel does not tell.
    init?(of vcpu: Int32) {
        guard let all = StatisticsCounter(named: "exits", of: vcpu),
            let interrupts = StatisticsCounter(named: "irq_exits", of: vcpu),
            let pageFaults = StatisticsCounter(named: "pf_taken", of: vcpu)
        else { return nil }
        self.all = all
        self.interrupts = interrupts
        self.pageFaults = pageFaults
    }

    /// The counts now, or nil where the kernel does not tell; three `pread`s, which do not touch the vCPU.
    public borrowing func counts() -> Counts? {
        guard let all = all.value(), let interrupts = interrupts.value(), let pageFaults = pageFaults.value() else {
            return nil
        }
        var counts = Counts()
        (counts.all, counts.accounted) = (all, interrupts &+ pageFaults)
        return counts
    }
}

extension VirtualCPU {
    /// Statistics of this vCPU's exits, or nil where the kernel has none; takes three descriptors.
    public borrowing func exitStatistics() -> ExitStatistics? { ExitStatistics(of: descriptor.number) }
}
