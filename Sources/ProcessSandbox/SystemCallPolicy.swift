// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What becomes of each system call of a process: data, to be read by people.
public struct SystemCallPolicy: Sendable {
    /// What becomes of a call.
    public enum Answer: Sendable, Hashable {
        /// The kernel carries it out.
        case allow
        /// It fails with this number and nothing else happens; 0 makes it seem to have succeeded.
        case fail(errno: Int32)
        /// SIGSYS: the process ends, the kernel's log names the call, and the service manager starts another worker.
        case kill
    }

    /// What one argument of a call must be for a rule to hold, its number counted from 0.
    public enum Condition: Sendable, Hashable {
        /// The lower half is this number: for an `int`, whose upper half means nothing.
        case number(_ argument: UInt32, is: UInt32)
        /// All of it is zero.
        case isZero(_ argument: UInt32)
        /// It is any other number, of 64 bits.
        case isNot(_ argument: UInt32, UInt64)
        /// None of these bits is set.
        case lacks(_ argument: UInt32, bits: UInt64)
        /// This one bit is set.
        case has(_ argument: UInt32, bit: UInt64)
    }

    /// One call, where all conditions hold.
    public struct Rule: Sendable, Hashable {
        /// The kernel's name for it.
        public var call: String
        /// None holds always.
        public var conditions: [Condition] = []
    }

    /// Rules that have one answer for one reason.
    public struct Group: Sendable {
        /// For people.
        public var reason: String
        /// What becomes of the calls.
        public var answer: Answer
        /// Which those are.
        public var rules: [Rule]

        init(_ answer: Answer, _ reason: String, calls: [String] = [], _ rules: [Rule] = []) {
            (self.reason, self.answer) = (reason, answer)
            self.rules = calls.map { Rule(call: $0) } + rules
        }
    }

    /// No call stands in two of them without conditions.
    public var groups: [Group]
    /// What becomes of calls that no rule is for.
    public var rest: Answer
}
