// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a worker has counted since it started.
public struct CounterReport: Sendable, Hashable {
    /// Counts, at most one for each kind and label; what never happened may be left out.
    public var samples: [CounterSample] = []
    /// Distributions of times.
    public var histograms: [TimeHistogram] = []

    /// A report of nothing.
    public init() {}
}

/// How often something happened, or how much of it there was.
public struct CounterSample: Sendable, Hashable {
    /// The most samples of one report: 512.
    public static let limit = 512

    /// What is counted. The raw values are the numbers on the wire.
    public enum Kind: UInt16, Sendable, Hashable, CaseIterable {
        /// Jobs that were accepted.
        case jobsAccepted = 1
        /// Jobs that ended; the label is the outcome's number on the wire.
        case jobsEnded = 2
        /// Submissions that were refused; the label is the code's number on the wire.
        case jobsRefused = 3
        /// Exits of ended jobs; the label is an ``ExitKind``.
        case exits = 4
        /// Steps of ended jobs whose steps were counted.
        case steps = 5
        /// Bytes of output of ended jobs.
        case outputBytes = 6
        /// Nanoseconds of processor time of ended jobs' vCPUs.
        case processorNanoseconds = 7
        /// System calls that were served to ended programs.
        case systemCalls = 8
        /// Virtual machines that were made.
        case machinesMade = 9
        /// Virtual machines that were brought back from one job to the start of another.
        case machinesReset = 10
        /// Images and layers that a submission named by digest and the worker had.
        case imagesFound = 11
        /// Images and layers that a submission named by digest and had to be sent.
        case imagesWanted = 12
        /// Connections that were served.
        case connectionsServed = 13
        /// Connections that were turned away.
        case connectionsRefused = 14
        /// Jobs that were started from a snapshot.
        case snapshotStarts = 15
    }

    /// Why the guests' vCPUs came back: the labels of ``Kind/exits``, and the fields of ``ExitCounts``.
    public enum ExitKind: UInt16, Sendable, Hashable, CaseIterable {
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case io = 1
        // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
        case mmio, debug, interrupted, other

        /// The name in metrics.
        public var name: String {
            switch self {
            case .io: "io"
            case .mmio: "mmio"
            case .debug: "debug"
            case .interrupted: "interrupted"
            case .other: "other"
            }
        }
    }

    /// What is counted.
    public var kind: Kind
    /// Which of its sorts; 0 where it has none.
    public var label: UInt16
    /// How many, or how much.
    public var value: UInt64

    /// A count by kind and label.
    public init(_ kind: Kind, label: UInt16 = 0, _ value: UInt64) {
        (self.kind, self.label, self.value) = (kind, label, value)
    }
}

/// How long something took, how often: a histogram with the same bounds in every worker.
public struct TimeHistogram: Sendable, Hashable {
    /// What is timed. The raw values are the numbers on the wire.
    public enum Kind: UInt16, Sendable, Hashable, CaseIterable {
        /// From a job's acceptance to its start.
        case queueTime = 1
        /// From a job's start to its end.
        case runTime = 2
    }

    /// Upper bounds of the buckets, in nanoseconds: 100 us, 1 ms, 10 ms, 100 ms, 1 s, 10 s, 60 s, 10 min. One more has no bound.
    public static let bounds: [UInt64] = [
        100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000, 60_000_000_000, 600_000_000_000,
    ]

    /// What is timed.
    public let kind: Kind
    /// How many fell in each bucket, those in lower buckets not included; the last is the one without a bound.
    public var counts: [UInt64]
    /// The sum of all times, in nanoseconds.
    public var sum: UInt64

    /// A histogram of nothing.
    public init(_ kind: Kind) {
        self.kind = kind
        (counts, sum) = ([UInt64](repeating: 0, count: Self.bounds.count + 1), 0)
    }

    /// Counts one time in nanoseconds.
    public mutating func add(_ time: UInt64) {
        counts[Self.bounds.firstIndex { time <= $0 } ?? Self.bounds.count] &+= 1
        sum &+= time
    }
}
