// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a job may use before it is ended. Reaching a budget is an ``Outcome``, never an error.
public struct Budget: Sendable, Hashable {
    /// Wall time when the submitter names none: 10 s.
    public static let defaultWallTime = Duration.seconds(10)

    /// The most steps (guest instructions retired) that the job may take, or nil to run unmetered at full speed.
    public var steps: UInt64?
    /// The most time between the start of the guest and its end, the time that it waits for a slow reader included.
    public var wallTime: Duration

    /// A budget; with no arguments, unmetered and ``defaultWallTime``.
    public init(steps: UInt64? = nil, wallTime: Duration = Budget.defaultWallTime) {
        self.steps = steps
        self.wallTime = wallTime
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
    /// Returns from `KVM_RUN`.
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
