// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// The model-specific registers that a guest may read and write; RDMSR and WRMSR of every other are a #GP in the guest.
///
/// The host's own `KVM_SET_MSRS` is not filtered, nor are the registers that instructions use without naming them, such as the
/// time-stamp counter by RDTSC.
///
/// Every filter gives a guest the same registers to write, so that guests cannot tell how they are run:
///
/// | numbers | registers |
/// |---|---|
/// | 0x174-0x176 | SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP |
/// | 0x277 | PAT |
/// | 0xC0000080-0xC0000084 | EFER, STAR, LSTAR, CSTAR, SFMASK |
/// | 0xC0000100-0xC0000102 | FS_BASE, GS_BASE, KERNEL_GS_BASE |
///
/// All of these start with fixed values and hold what the guest puts there, so that a reset can put them back. EFER, FS_BASE and
/// GS_BASE are part of ``SystemRegisters``, the rest of ``VCPUState/modelSpecific``. Among what no guest may write are the
/// memory types, the machine-check banks, TSC_ADJUST, and KVM's own registers, through which the host would write times into guest
/// memory: many of these are in none of the kernel's lists, and would survive a reset that goes by them.
public struct MSRFilter: Sendable, Hashable {
    /// Some registers with consecutive numbers.
    public struct Range: Sendable, Hashable {
        /// The first register's number.
        public var first: UInt32
        /// How many, at most ``MSRFilter/rangeLimit``.
        public var count: UInt32
        /// Whether the guest may write them, too.
        public var isWritable = true

        func contains(_ number: UInt32) -> Bool { number >= first && number - first < count }
    }

    /// The most registers of one range: 64.
    public static let rangeLimit: UInt32 = 64
    /// The most ranges: 16, as the kernel has it (`KVM_MSR_FILTER_MAX_RANGES`).
    public static let rangesLimit = 16

    /// What the guest accesses by itself.
    public let allowed: [Range]
    /// What it accesses by way of the worker: ``VMExit/msrRead(number:)`` and ``VMExit/msrWrite(number:value:)``.
    public let served: [Range]
    /// Whether the worker hears of every access that is not allowed, those that it does not serve included.
    let tellsDenied: Bool

    private init(allowed: [Range], served: [Range] = [], tellsDenied: Bool = false) {
        precondition(
            allowed.count <= Self.rangesLimit && allowed.allSatisfy { (1...Self.rangeLimit).contains($0.count) })
        (self.allowed, self.served) = (allowed, served)
        self.tellsDenied = tellsDenied || !served.isEmpty
    }

    /// Which of them turns long mode on.
    static let efer: UInt32 = 0xC000_0080
    private static let modes = [Range(first: efer, count: 1)]
    /// The bases of FS and GS, which a reset puts back with the segments, as it does EFER.
    private static let bases = [Range(first: 0xC000_0100, count: 2)]

    /// The others of the table above.
    private static let modelSpecific = [
        Range(first: 0x174, count: 3), Range(first: 0x277, count: 1), Range(first: 0xC000_0081, count: 4),
        Range(first: 0xC000_0102, count: 1),
    ]

    /// What guests outside a deterministic job may read and not write, as there is nothing in it that one guest could leave to
    /// another: the time-stamp counter, which RDTSC gives too, and what start-up code for bare machines looks at, the APIC base, the
    /// microcode's revision, the number of memory type ranges and MISC_ENABLE.
    private static let readable = [0x10, 0x1B, 0x8B, 0xFE, 0x1A0].map { Range(first: $0, count: 1, isWritable: false) }

    /// Nothing by which a guest could tell the time, the machine, or one run from another. No access leaves the guest.
    public static let repeatable = MSRFilter(allowed: modes + bases + modelSpecific)

    /// ``repeatable`` and what may be read besides. No access leaves the guest, so that none disturbs the counting of instructions;
    /// but nobody knows what the guest has written.
    public static let direct = MSRFilter(allowed: repeatable.allowed + readable)

    /// The same registers as ``direct``, but those that take a call to put back are written by the worker: a guest that leaves
    /// them alone, as nearly all do, need not be cleaned up after. EFER is with them, since SWAPGS, which no filter sees, is an
    /// instruction of long mode.
    public static let noted = MSRFilter(allowed: bases + readable, served: modes + modelSpecific)

    /// For the board of a PC: the same registers by the guest itself, the time-stamp counter to read, and to read and write what
    /// belongs to the processor's own interrupt controller, its base and its deadline. The worker hears of all others, and answers for the
    /// board.
    ///
    /// What a guest leaves in those two no reset takes back: a machine with this filter serves one job.
    public static let board = MSRFilter(
        allowed: repeatable.allowed + [
            Range(first: 0x10, count: 1, isWritable: false), Range(first: 0x1B, count: 1),
            Range(first: 0x6E0, count: 1),
        ], tellsDenied: true)

    /// The registers that a guest may write and that are no part of ``SystemRegisters``.
    static let writable = modelSpecific.flatMap { range in (0..<range.count).map { range.first + $0 } }

    /// Whether the worker hears of every write to the registers of ``VCPUState/modelSpecific``.
    var isNoted: Bool { !served.isEmpty }

    /// Whether the worker is to do what the guest asks of this register.
    func serves(_ number: UInt32) -> Bool { served.contains { $0.contains(number) } }

    /// Before the machine has a vCPU, so that no pass-through has to be taken back.
    ///
    /// `KVM_X86_SET_MSR_FILTER`, and `KVM_CAP_X86_USER_SPACE_MSR` where the worker has to serve.
    func install(in machine: Int32) throws(KVMError) {
        if tellsDenied {
            let capability = Capability.userSpaceMSR.rawValue
            _ = try KVMError.check(
                ckvm_enable(machine, capability, UInt64(CKVM_MSR_EXIT_REASON_FILTER)), .enableCapability)
        }
        let ranges = allowed.map {
            ckvm_msr_range(
                first: $0.first, count: $0.count, access: $0.isWritable ? CKVM_MSR_READ | CKVM_MSR_WRITE : CKVM_MSR_READ
            )
        }
        let result = unsafe ranges.withUnsafeBufferPointer { ranges -> Int32 in
            // SAFETY: the call reads as many ranges as it is told of, and keeps none.
            guard let base = ranges.baseAddress else { return 0 }
            return unsafe ckvm_allow_msrs(machine, base, UInt32(ranges.count))
        }
        _ = try KVMError.check(result, .setMSRFilter)
    }
}
