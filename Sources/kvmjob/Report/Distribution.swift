// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// How many of many numbers lie where, on a logarithmic scale. It takes the same memory however many there are.
struct Distribution: Sendable {
    /// The first number of a bin, and of the next: 1, 2, 5, 10, 20, 50 and so on. What is 0 counts in the first.
    static let bins = 58

    private(set) var counts = [Int](repeating: 0, count: bins)
    private var fine = [Int](repeating: 0, count: (64 - fineBits + 1) << fineBits)
    private(set) var count = 0
    private(set) var smallest = UInt64.max
    private(set) var largest: UInt64 = 0

    /// As many leading bits of a number tell its fine bin: 32 for each doubling, so that a quantile is at most 1/32 too small.
    private static let fineBits = 5

    mutating func add(_ number: UInt64) {
        counts[Self.bin(of: number)] += 1
        fine[Self.fineBin(of: number)] += 1
        count += 1
        (smallest, largest) = (min(smallest, number), max(largest, number))
    }

    /// Below this number lie so many of a hundred.
    func quantile(percent: Int) -> UInt64 {
        var below = 0
        let wanted = (count * percent + 99) / 100
        for (bin, count) in fine.enumerated() {
            below += count
            if below >= wanted, count > 0 { return min(max(Self.fineStart(of: bin), smallest), largest) }
        }
        return largest
    }

    /// The bins that are not empty and those between them; nil without any numbers.
    var usedBins: ClosedRange<Int>? {
        guard let first = counts.firstIndex(where: { $0 > 0 }), let last = counts.lastIndex(where: { $0 > 0 }) else {
            return nil
        }
        return first...last
    }

    /// Where a bin begins. A number of floating point, since the last bin ends above 2^64.
    static func start(of bin: Int) -> Double {
        var power = 1.0
        for _ in 0..<bin / 3 { power *= 10 }
        return power * [1, 2, 5][bin % 3]
    }

    private static func bin(of number: UInt64) -> Int {
        var (rest, bin) = (number, 0)
        while rest >= 10 { (rest, bin) = (rest / 10, bin + 3) }
        return rest < 2 ? bin : rest < 5 ? bin + 1 : bin + 2
    }

    private static func fineBin(of number: UInt64) -> Int {
        let shift = max(0, 64 - number.leadingZeroBitCount - fineBits - 1)
        return shift << fineBits + Int(number >> UInt64(shift))
    }

    private static func fineStart(of bin: Int) -> UInt64 {
        guard bin >= 2 << fineBits else { return UInt64(bin) }
        let shift = bin >> fineBits - 1
        return UInt64(bin - shift << fineBits) << UInt64(shift)
    }
}
