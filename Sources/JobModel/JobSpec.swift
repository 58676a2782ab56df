// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a client asks for: one image, how it starts, what it may use. Values only; nothing here has been checked yet.
public struct JobSpec: Sendable, Hashable {
    /// Guest memory when the submitter names none: 16 MiB.
    public static let defaultMemoryBytes: UInt64 = 16 << 20

    /// A name for people, shown in logs; not unique. At most 128 bytes of UTF-8.
    public var label: String
    /// How the vCPU starts.
    public var mode: GuestMode
    /// The guest physical address of the image's first byte, or nil for the mode's default.
    public var loadAddress: UInt64?
    /// The guest address of the first instruction, or nil for the load address.
    public var entryPoint: UInt64?
    /// First values of general registers; those not named start at the mode's defaults.
    public var registers: [RegisterName: UInt64]
    /// Bytes of guest memory. Takes host memory only as the guest touches it.
    public var memoryBytes: UInt64
    /// What the job may use.
    public var budget: Budget
    /// Whether writes to ports that no device claims are streamed to the client.
    public var reportsPortWrites: Bool
    /// Whether the client will send input. Without it the guest finds its input at the end from the start.
    public var hasInput: Bool
    /// How steps are counted. nil is the fastest way, exact wherever that can be had; with a request and no step budget they
    /// are counted without a bound.
    public var meter: MeterRequest?
    /// Whether the job is paused, not ended, when its steps are used up.
    public var pausesWhenStepsRunOut = false
    /// First values of segment registers and of the task and descriptor-table registers, hidden parts included.
    public var segments: [SegmentName: Segment] = [:]
    /// First values of GDTR and IDTR.
    public var tables: [TableName: DescriptorTable] = [:]
    /// First values of control registers.
    public var controls: [ControlName: UInt64] = [:]
    /// Where the image's bytes go, piece after piece; empty for one piece at ``loadAddress``.
    public var pieces: [MemoryRange] = []
    /// What the result should tell beyond its figures.
    public var report: ReportContents = []
    /// Guest physical memory that is sent at the end, on ``OutputChannel/memory``.
    public var dumps: [MemoryRange] = []
    /// Whether each step and each exit is told on ``OutputChannel/trace``. The guest is stepped then.
    public var isTraced = false
    /// Whether everything that could differ between two runs is fixed or kept from the guest, as far as this machine can.
    public var isDeterministic = false
    /// What a job of mode ``GuestMode/linux`` executes; nil for all other modes.
    public var program: ProgramSpec?
    /// Where the job ends to be kept as a snapshot; nil for one that runs to its end.
    public var snapshot: SnapshotPoint?
    /// Which of the same user's waiting jobs goes first: see ``JobPriority``.
    public var priority = JobPriority.normal
    /// The most nanoseconds that it may wait for its first start, at least 1; nil for as long as it takes.
    public var waitLimit: UInt64?
    /// What the guest finds around its processor.
    public var board = BoardKind.bare
    /// Whether the image is a ROM: it ends at 4 GiB, and the processor starts in it as behind a reset. Only on ``BoardKind/pc``.
    public var isROM = false
    /// How many vCPUs the guest has, 1 to ``maximumVCPUs``. Each has its own step and processor-time budget.
    public var vcpus = 1
    /// The steps, at least 1, after which the next vCPU's turn comes: one runs at a time then, in the order of their numbers. nil lets
    /// all run at once.
    public var turn: UInt64?
    /// Whether the worker takes the job over, and under which key; nil for a job that belongs to its connection.
    public var detachment: Detachment?

    /// A job with defaults for everything.
    public init(
        label: String = "", mode: GuestMode = .real16, loadAddress: UInt64? = nil, entryPoint: UInt64? = nil,
        registers: [RegisterName: UInt64] = [:], memoryBytes: UInt64 = JobSpec.defaultMemoryBytes,
        budget: Budget = Budget(), reportsPortWrites: Bool = false, hasInput: Bool = false
    ) {
        self.label = label
        self.mode = mode
        self.loadAddress = loadAddress
        self.entryPoint = entryPoint
        self.registers = registers
        self.memoryBytes = memoryBytes
        self.budget = budget
        self.reportsPortWrites = reportsPortWrites
        self.hasInput = hasInput
    }
}

/// Some bytes of guest physical memory.
public struct MemoryRange: Sendable, Hashable {
    /// The most ranges that an image is split into: 1024.
    public static let pieceLimit = 1024
    /// The most windows that a job can ask for: 64.
    public static let dumpLimit = 64

    /// The address of the first byte.
    public var address: UInt64
    /// How many bytes.
    public var count: UInt64

    /// A range by address and length.
    public init(address: UInt64, count: UInt64) { (self.address, self.count) = (address, count) }

    /// The first address behind it, or nil where that is beyond 64 bits.
    public var end: UInt64? {
        let end = address.addingReportingOverflow(count)
        return end.overflow ? nil : end.partialValue
    }
}

/// What a result tells beyond its figures. The raw value is the number on the wire.
public struct ReportContents: OptionSet, Sendable, Hashable {
    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public let rawValue: UInt8

    // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The last exits: ``PostMortem/exits``.
    public static let exits = ReportContents(rawValue: 1)
    /// Memory around RIP: ``PostMortem/code``.
    public static let code = ReportContents(rawValue: 2)
    /// Memory from the stack pointer on: ``PostMortem/stack``.
    public static let stack = ReportContents(rawValue: 4)
    /// x87 and SSE state: ``PostMortem/fpu``.
    public static let fpu = ReportContents(rawValue: 8)
    /// ``JobResult/digest``.
    public static let digest = ReportContents(rawValue: 16)

    /// Everything there is.
    public static let all: ReportContents = [.exits, .code, .stack, .fpu, .digest]
}

/// Why a job was not accepted. A refusal is no outcome: the job never was.
public struct Refusal: Error, Sendable, Hashable {
    /// The rule that the submission broke.
    public enum Rule: UInt16, Sendable, Hashable, CaseIterable {
        /// A field has a value outside its range.
        case invalidField = 64
        /// The image is larger than the worker takes.
        case imageTooLarge = 65
        /// The image has no bytes.
        case imageEmpty = 66
        /// Guest memory is outside the worker's bounds, or not whole pages.
        case memorySize = 67
        /// The image does not fit in guest memory at its load address.
        case imageOutsideMemory = 68
        /// The entry point is outside guest memory, or out of the mode's reach.
        case entryOutsideMemory = 69
        /// The image overlaps the area that the mode's descriptor and page tables need.
        case imageOverlapsSystemArea = 70
        /// A budget is outside its range.
        case budgetRange = 71
        /// This machine cannot run this mode, or cannot count its steps.
        case modeUnavailable = 72
        /// The connection has as many jobs in flight as it may.
        case tooManyJobs = 73
        /// The worker's queue or its memory for waiting jobs is full.
        case queueFull = 74
        /// The worker is shutting down.
        case draining = 75
        /// The image's bytes do not have the digest that the submission named.
        case imageDigestMismatch = 77
        /// There is no snapshot of that name for this user.
        case snapshotUnknown = 78
        /// The program is not among the files, or is none that can be executed.
        case programUnusable = 79
        /// This user has as much of something as one user may.
        case tenantLimit = 80
        /// This user has no detached job with that number.
        case jobUnknown = 81
        /// The output that the client has is of a run that the worker's end cut short.
        case runOver = 82
        /// This worker keeps no jobs.
        case detachUnavailable = 83
        /// The key is that of another job.
        case keyTaken = 84
    }

    /// The longest ``limitName``, in bytes of UTF-8.
    public static let limitNameBytes = 64

    /// The rule that was broken.
    public var rule: Rule
    /// What was wrong, where, and what would be right, in one sentence.
    public var message: String
    /// The bound, where the rule has one.
    public var limit: UInt64?
    /// The offending value, where the rule has one; of a limit on what is used, the use that this would have made it.
    public var value: UInt64?
    /// The setting that ``limit`` is the value of, such as `tenant-queued-jobs`, where it is one.
    public var limitName: String?
    /// An estimate of the nanoseconds after which the same submission may succeed.
    public var retryNanoseconds: UInt64?

    /// A refusal with its parts.
    public init(
        _ rule: Rule, _ message: String, limit: UInt64? = nil, value: UInt64? = nil, limitName: String? = nil,
        retryNanoseconds: UInt64? = nil
    ) {
        self.rule = rule
        self.message = message
        self.limit = limit
        self.value = value
        self.limitName = limitName
        self.retryNanoseconds = retryNanoseconds
    }

    /// Whether the same submission can succeed later, elsewhere or after other jobs have ended.
    public var isRetryable: Bool {
        switch rule {
        case .tooManyJobs, .queueFull, .draining, .tenantLimit: true
        case .invalidField, .imageTooLarge, .imageEmpty, .memorySize, .imageOutsideMemory, .entryOutsideMemory,
            .imageOverlapsSystemArea, .budgetRange, .modeUnavailable, .imageDigestMismatch, .snapshotUnknown,
            .programUnusable, .jobUnknown, .runOver, .detachUnavailable, .keyTaken:
            false
        }
    }
}
