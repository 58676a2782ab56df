// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// Pages of guest physical memory in a row.
struct FrameRun: Sendable, Hashable {
    /// The number of the first: its address divided by the size of a page.
    var first: UInt32
    var count: UInt32

    /// Guest physical addresses.
    var addresses: Range<UInt64> {
        let start = UInt64(first) * GuestMemory.pageBytes
        return start..<start + UInt64(count) * GuestMemory.pageBytes
    }
}

/// Hands out pages of guest physical memory. All that it has are zeros.
struct FrameAllocator: Sendable {
    /// Never handed out yet.
    private var untouched: Range<UInt32>
    /// Handed out and given back, the last one on top. At most as many runs as there are frames.
    private var returned: [FrameRun] = []
    /// Frames that can be handed out.
    private(set) var freeCount: Int
    /// All frames there are.
    let total: Int

    /// - Parameter frames: their numbers.
    init(_ frames: Range<UInt32>) {
        untouched = frames
        freeCount = frames.count
        total = frames.count
    }

    /// The next frames in a row, at least one and at most so many; nil if there are none.
    mutating func take(atMost count: Int) -> FrameRun? {
        guard count > 0, freeCount > 0 else { return nil }
        let wanted = UInt32(clamping: count)
        let run: FrameRun
        if let last = returned.last {
            run = FrameRun(first: last.first, count: min(wanted, last.count))
            if run.count == last.count {
                returned.removeLast()
            } else {
                returned[returned.count - 1] = FrameRun(first: last.first + run.count, count: last.count - run.count)
            }
        } else {
            run = FrameRun(first: untouched.lowerBound, count: min(wanted, UInt32(untouched.count)))
            untouched = untouched.lowerBound + run.count..<untouched.upperBound
        }
        freeCount -= Int(run.count)
        return run
    }

    /// Takes frames back, which are zeros.
    mutating func giveBack(_ run: FrameRun) {
        freeCount += Int(run.count)
        guard let last = returned.last, last.first + last.count == run.first else { return returned.append(run) }
        returned[returned.count - 1].count += run.count
    }
}

/// Collects frames into runs.
struct FrameRuns {
    private(set) var runs: [FrameRun] = []
    private(set) var count = 0

    mutating func add(_ frame: UInt32) {
        count += 1
        guard let last = runs.last, last.first + last.count == frame else {
            return runs.append(FrameRun(first: frame, count: 1))
        }
        runs[runs.count - 1].count += 1
    }
}
