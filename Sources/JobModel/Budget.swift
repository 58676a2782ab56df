// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a job may use before it is ended. Reaching a budget is an ``Outcome``, never an error.
public struct Budget: Sendable, Hashable {
    /// Wall time when the submitter names none: 10 s.
    public static let defaultWallTime = Duration.seconds(10)

    /// The most steps (guest instructions retired) that the job may take, or nil to run unmetered at full speed.
    public var steps: UInt64?
    /// The most time between the start of the guest and its end, the time that it waits for a slow reader included and the
    /// time that it is paused not.
    public var wallTime: Duration
    /// The most processor time of the vCPU's thread, or nil for no bound but the wall time.
    public var cpuTime: Duration?
    /// The most times that the guest may leave `KVM_RUN` by what it does: port and memory accesses, HLT, errors. Stops that the
    /// worker brings about, for a step or a timer, do not count.
    public var exits: UInt64?
    /// The most bytes of output, over all that the guest writes: its console, and eight bytes for each reported port write.
    /// What the worker tells of it, memory windows and the trace, is not output of the guest's.
    public var outputBytes: UInt64?
    /// The most bytes of guest memory, in pages, that may be backed by host memory at once; what is loaded before the start
    /// counts too. The guest sees all of its memory whatever this says.
    public var touchedBytes: UInt64?

    /// A budget; with no arguments, unmetered and ``defaultWallTime``.
    public init(
        steps: UInt64? = nil, wallTime: Duration = Budget.defaultWallTime, cpuTime: Duration? = nil,
        exits: UInt64? = nil, outputBytes: UInt64? = nil, touchedBytes: UInt64? = nil
    ) {
        (self.steps, self.wallTime, self.cpuTime) = (steps, wallTime, cpuTime)
        (self.exits, self.outputBytes, self.touchedBytes) = (exits, outputBytes, touchedBytes)
    }
}

/// How a job wants its steps counted. The raw values are the numbers on the wire.
public enum MeterRequest: UInt8, Sendable, Hashable, CaseIterable {
    /// Exactly, by the fastest way that this machine has; refused where it has none.
    case exact = 1
    /// Exactly, and by stopping after each instruction, however long that takes.
    case stepped = 2

    /// The name on the command line.
    public var name: String {
        switch self {
        case .exact: "exact"
        case .stepped: "stepped"
        }
    }
}

/// Which limit a budget outcome speaks of. The raw values are the numbers on the wire.
public enum BudgetKind: UInt8, Sendable, Hashable, CaseIterable {
    /// Guest instructions retired.
    case steps = 1
    /// Processor time of the vCPU's thread, in nanoseconds.
    case cpuTime = 2
    /// Time since the start of the guest, in nanoseconds.
    case wallTime = 3
    /// Returns from `KVM_RUN` that the guest brought about.
    case exits = 4
    /// Bytes of guest output.
    case output = 5
    /// Bytes of guest memory.
    case memory = 6

    /// The stem of the outcome's name: `steps` in `steps-exhausted`.
    public var name: String {
        switch self {
        case .steps: "steps"
        case .cpuTime: "cpu-time"
        case .wallTime: "wall-time"
        case .exits: "exits"
        case .output: "output"
        case .memory: "memory"
        }
    }
}
