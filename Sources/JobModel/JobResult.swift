// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// How the steps of a job were counted.
public enum Meter: Sendable, Hashable {
    /// Not counted: the guest ran at full speed.
    case none
    /// The figure is the number of instructions retired.
    case exact
    /// The figure may be off, for the reason given.
    case bounded(reason: String)

    /// The name in JSON: `none`, `exact` or `bounded`.
    public var name: String {
        switch self {
        case .none: "none"
        case .exact: "exact"
        case .bounded: "bounded"
        }
    }
}

/// How often a vCPU came back from `KVM_RUN`, by reason. A run that completes an exit counts only if the same instruction then
/// leaves the guest again. ``io``, ``mmio`` and ``other`` are what the guest brought about, and the same however its steps are
/// counted: a HLT that a step meter sees before it runs is among them.
///
/// A byte for the console need not be an exit: where no budget and nothing that the job asked to be told is about exits, KVM may
/// gather such bytes, and ``io`` then has one exit for up to 170 of them. ``interrupted`` has looks at them instead, every 10 ms.
public struct ExitCounts: Sendable, Hashable {
    /// Port input and output: `KVM_EXIT_IO`.
    public var io: UInt64 = 0
    /// Accesses outside guest memory: `KVM_EXIT_MMIO`.
    public var mmio: UInt64 = 0
    /// Single steps: `KVM_EXIT_DEBUG`, or what a step meter has in its place.
    public var debug: UInt64 = 0
    /// Interrupted by the worker: a timer or a kick.
    public var interrupted: UInt64 = 0
    /// Everything else: HLT, shutdown, errors.
    public var other: UInt64 = 0

    /// No exits.
    public init() {}

    /// All exits together.
    public var total: UInt64 { broughtAbout + debug + interrupted }
    /// Those that the guest brought about: what ``Budget/exits`` bounds.
    public var broughtAbout: UInt64 { io + mmio + other }
}

/// What is known of a job when it has ended. Every accepted job has exactly one.
public struct JobResult: Sendable, Hashable {
    /// Why it ended.
    public var outcome: Outcome
    /// Steps taken, by all vCPUs together, or nil when they were not counted.
    public var steps: UInt64?
    /// How ``steps`` were counted.
    public var meter: Meter = .none
    /// Nanoseconds between acceptance and start; of a job that never started, until its end.
    public var queueNanoseconds: UInt64 = 0
    /// Nanoseconds between start and end of the guest.
    public var wallNanoseconds: UInt64 = 0
    /// Nanoseconds of processor time that the vCPUs' threads spent on the guest, the worker's service of its exits included.
    public var cpuNanoseconds: UInt64 = 0
    /// Bytes of guest memory backed by host memory at the end, in whole pages; nil where nobody asked.
    public var touchedBytes: UInt64?
    /// Exits by reason: what there really was, which may be less than the console bytes and port accesses together.
    public var exits = ExitCounts()
    /// Bytes of console output that were streamed before this result.
    public var outputBytes: UInt64 = 0
    /// Writes to ports that no device claims.
    public var unclaimedPortWrites: UInt64 = 0
    /// Writes to physical addresses outside guest memory, which were dropped.
    public var droppedMemoryWrites: UInt64 = 0
    /// The general registers at the end, or nil where the job never started or the backend lost them. Of several vCPUs these, and what
    /// else is told of one, are those of the one that ended the job, or of the first.
    public var registers: Registers?
    /// Segments and control registers at the end, or nil likewise.
    public var system: SystemRegisters?
    /// What helps to understand the end, as far as the job asked for it.
    public var postMortem = PostMortem()
    /// What is known of the process besides, for a Linux program.
    public var program: ProgramReport?
    /// What is known of each vCPU, by number, where the job had more than one; empty otherwise.
    public var processors: [ProcessorReport] = []
    /// SHA-256 of what a run of the same job must bring forth again; nil where nobody asked.
    public var digest: [UInt8]?

    /// A result of which only the outcome is known.
    public init(outcome: Outcome) { self.outcome = outcome }
}

/// A stream of bytes from guest to client. The raw values are the numbers on the wire.
public enum OutputChannel: UInt8, Sendable, Hashable, CaseIterable {
    /// What the guest wrote to COM1 (0x3F8) and the debug console (0xE9), in order; of a Linux program, its standard output.
    case console = 1
    /// The standard error of a Linux program.
    case standardError = 2
    /// Writes to unclaimed ports, 8 bytes each: see ``PortWrite``.
    case portWrites = 3
    /// The memory windows that the job asked for, as they were at its end: see ``MemoryRecord``.
    case memory = 4
    /// What the guest did, step by step: see ``TraceRecord``.
    case trace = 5
}

/// One write to a port that no device claims.
public struct PortWrite: Sendable, Hashable {
    /// Bytes of one record on the ``OutputChannel/portWrites`` channel.
    public static let recordBytes = 8

    /// The port.
    public var port: UInt16
    /// The width in bytes: 1, 2 or 4.
    public var size: UInt8
    /// The value, zero-extended.
    public var value: UInt32

    /// A write with its parts.
    public init(port: UInt16, size: UInt8, value: UInt32) {
        self.port = port
        self.size = size
        self.value = value
    }

    /// The record: port u16, size u8, zero u8, value u32, big-endian.
    public var record: [UInt8] {
        [
            UInt8(port >> 8), UInt8(port & 255), size, 0, UInt8(value >> 24), UInt8(value >> 16 & 255),
            UInt8(value >> 8 & 255), UInt8(value & 255),
        ]
    }

    /// The write that a record describes, or nil if it is not ``recordBytes`` long.
    public init?(record: some Collection<UInt8>) {
        let bytes = Array(record)
        guard bytes.count == Self.recordBytes else { return nil }
        port = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
        size = bytes[2]
        value = bytes[4...].reduce(0) { $0 << 8 | UInt32($1) }
    }
}

/// What a running job tells while it runs, in order; the result is last.
public enum JobEvent: Sendable, Hashable {
    /// The guest is about to run its first instruction.
    case started
    /// Bytes from the guest.
    case output(OutputChannel, [UInt8])
    /// The guest consumed this many bytes of its input since the last such event.
    case inputConsumed(Int)
    /// The step budget is used up, and the machine is kept until the job is extended or given up.
    case paused(Pause)
    /// The end.
    case finished(JobResult)
}
