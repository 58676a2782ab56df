// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is known of one vCPU of a job that has several, when the job has ended.
public struct ProcessorReport: Sendable, Hashable {
    /// How a vCPU was left. The raw values are the numbers on the wire.
    public enum State: UInt8, Sendable, Hashable, CaseIterable {
        /// It came to its HLT before the job ended.
        case halted = 0
        /// It ended the job: by what it did, or since it used up what it may.
        case ended = 1
        /// The job ended while it ran.
        case stopped = 2
        /// On the board of a PC, nobody had started it.
        case waiting = 3

        /// The name for people and for JSON.
        public var name: String {
            switch self {
            case .halted: "halted"
            case .ended: "ended"
            case .stopped: "stopped"
            case .waiting: "waiting"
            }
        }
    }

    /// How it was left.
    public var state: State
    /// Steps that it took, or nil where they were not counted.
    public var steps: UInt64?
    /// Nanoseconds of processor time that it took, the worker's service of its exits included.
    public var cpuNanoseconds: UInt64
    /// Its general registers at the end, or nil where the backend lost them or the worker does not tell.
    public var registers: Registers?

    /// A report of a vCPU.
    public init(state: State, steps: UInt64? = nil, cpuNanoseconds: UInt64 = 0, registers: Registers? = nil) {
        (self.state, self.steps, self.cpuNanoseconds) = (state, steps, cpuNanoseconds)
        self.registers = registers
    }
}

extension JobSpec {
    /// The most vCPUs of one job: 16.
    public static let maximumVCPUs = 16
}
