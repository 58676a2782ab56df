// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// A Linux program that runs as a guest, with everything that a kernel would know of its process.
///
/// A value without a clock, a socket or a vCPU: it is told of a system call or a fault and says what comes of it. A copy of it,
/// with a copy of guest memory and of the vCPU, is a process of its own that goes on from there.
public struct LinuxProcess: Sendable {
    /// Guest memory as the program sees it.
    var space: AddressSpace

    /// What is executed, with the interpreters of scripts put in front.
    var program = Program(path: [], arguments: [])

    // MARK: Files

    /// Descriptors, the tree, and where the process stands in it.
    var files = ProcessFiles()
    /// What it wrote to its standard streams and the runtime has not taken yet.
    var outbox: [Outgoing] = []
    /// What came for it to read.
    var standardInput = InputBuffer()
    /// Where its random bytes come from.
    var random = RandomStream()

    /// Where the random bytes are that the program found on its stack.
    var startRandomAddress: UInt64?

    // MARK: The call being served

    /// The clocks, set before each call is served.
    public internal(set) var moment = Moment()
    /// ``Moment/monotonic`` when the call was served for the first time: what timeouts count from.
    var callStarted: UInt64 = 0
    /// Whether the call is served again because its deadline came.
    var hasTimedOut = false

    // MARK: Threads and signals

    /// All threads, of which one is being served.
    var threads = ThreadTable(first: Thread(number: UInt32(Self.number)))
    /// What signals do.
    var signals = ProcessSignals()
    /// What sends signals by the clock.
    var timers = Timers()
    /// What the first thread left when it ended before others.
    var firstThreadStatus: UInt8?
    /// What the process has set for itself, and nothing here goes by.
    var limits = ProcessLimits()
    /// `PR_SET_NO_NEW_PRIVS`: there are none anyway.
    var hasNoNewPrivileges = false
    /// 0 to 19; all threads have the same turns whatever it is.
    var niceness = 0

    /// Whether the program has said that it is ready, and nobody has taken that yet.
    var hasSaidReady = false

    // MARK: For the result

    /// What has been done so far.
    public internal(set) var counts = Counts()

    /// What is worth counting.
    public struct Counts: Sendable, Hashable {
        /// System calls that were served.
        public var calls: UInt64 = 0
        /// Numbers of calls that nothing serves, each once.
        public var unknown: Set<UInt32> = []
    }

    /// A process without a program, in memory of which it has all.
    init(space: AddressSpace) { self.space = space }
}
