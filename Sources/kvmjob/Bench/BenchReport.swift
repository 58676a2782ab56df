// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A stretch of load without a pause.
struct BenchSlice: Sendable {
    var tally: LoadTally
    /// From the first submission to the last result.
    var nanoseconds: UInt64

    /// Jobs per second.
    var rate: Double { Double(tally.jobs) / (Double(nanoseconds) / 1e9) }
}

/// What a `kvmjob bench` found.
struct BenchReport: Sendable {
    var choice: WorkerChoice
    /// The worker's name and version.
    var software: String
    /// Jobs that it runs at once; 0 where it does not tell.
    var slots: Int
    var connections: Int
    var order: LoadOrder
    /// Threads of the floor; nil where none was measured.
    var floorThreads: Int?
    /// What was done before anything counted; only how it ended is told.
    var warmup = LoadTally()
    /// All slices together.
    private(set) var tally = LoadTally()
    private(set) var nanoseconds: UInt64 = 0
    /// Each slice's rate over the mean of the floor's on either side of it.
    private(set) var ratios: [Double] = []
    /// Jobs per second of each of the floor's slices that a slice of the load was held against.
    private(set) var floorRates: [Double] = []

    mutating func add(_ slice: BenchSlice, floorRates rates: [Double]) {
        tally.add(slice.tally)
        nanoseconds += slice.nanoseconds
        guard !rates.isEmpty else { return }
        let floor = rates.reduce(0, +) / Double(rates.count)
        floorRates.append(floor)
        ratios.append(slice.rate / floor)
    }

    /// Jobs per second.
    var rate: Double { nanoseconds == 0 ? 0 : Double(tally.jobs) / (Double(nanoseconds) / 1e9) }

    /// How all jobs ended, those of the warm-up too.
    var ends: LoadTally {
        var ends = warmup
        ends.add(tally)
        return ends
    }

    /// The exit status: 0 if every job ended as expected.
    var status: Int32 { ends.status }

    /// The middle one of some numbers; nil of none.
    static func median(_ values: [Double]) -> Double? {
        guard !values.isEmpty else { return nil }
        let sorted = values.sorted()
        return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }
}
