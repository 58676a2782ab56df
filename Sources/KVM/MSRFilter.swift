// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// The model-specific registers that a guest may read and write; RDMSR and WRMSR of every other are a #GP in the guest.
///
/// The guest is not stopped for that and the worker never hears of it. The host's own `KVM_SET_MSRS` is not filtered, nor are the
/// registers that instructions use without naming them, such as the time-stamp counter by RDTSC.
public struct MSRFilter: Sendable, Hashable {
    /// Some registers with consecutive numbers.
    public struct Range: Sendable, Hashable {
        /// The first register's number.
        public var first: UInt32
        /// How many, at most ``MSRFilter/rangeLimit``.
        public var count: UInt32
    }

    /// The most registers of one range: 64.
    public static let rangeLimit: UInt32 = 64
    /// The most ranges: 16, as the kernel has it (`KVM_MSR_FILTER_MAX_RANGES`).
    public static let rangesLimit = 16

    /// What may be accessed.
    public let allowed: [Range]

    private init(allowed: [Range]) {
        precondition(
            allowed.count <= Self.rangesLimit && allowed.allSatisfy { (1...Self.rangeLimit).contains($0.count) })
        self.allowed = allowed
    }

    /// What the processor modes need, and nothing by which a guest could tell the time, the machine, or one run from another: all of
    /// these start with fixed values and hold what the guest puts there. Among what is left out are the time-stamp counter,
    /// APERF and MPERF, the performance counters, the APIC base, the machine-check banks, the memory types, and KVM's own
    /// registers, through which the host would write times into guest memory.
    ///
    /// | numbers | registers |
    /// |---|---|
    /// | 0x174-0x176 | SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP |
    /// | 0x277 | PAT |
    /// | 0xC0000080-0xC0000084 | EFER, STAR, LSTAR, CSTAR, SFMASK |
    /// | 0xC0000100-0xC0000102 | FS_BASE, GS_BASE, KERNEL_GS_BASE |
    public static let repeatable = MSRFilter(allowed: [
        Range(first: 0x174, count: 3), Range(first: 0x277, count: 1), Range(first: 0xC000_0080, count: 5),
        Range(first: 0xC000_0100, count: 3),
    ])

    /// `KVM_X86_SET_MSR_FILTER`; before the machine has a vCPU, so that no pass-through has to be taken back.
    func install(in machine: Int32) throws(KVMError) {
        let ranges = allowed.map { ckvm_msr_range(first: $0.first, count: $0.count) }
        let result = unsafe ranges.withUnsafeBufferPointer { ranges -> Int32 in
            // SAFETY: the call reads as many ranges as it is told of, and keeps none.
            guard let base = ranges.baseAddress else { return 0 }
            return unsafe ckvm_allow_msrs(machine, base, UInt32(ranges.count))
        }
        _ = try KVMError.check(result, .setMSRFilter)
    }
}
