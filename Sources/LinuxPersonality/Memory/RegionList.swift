// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// The regions of a process in the order of their addresses: none overlaps another, and none could be one with its neighbour.
///
/// Its costs are in proportion to the number of regions, which ``maximumCount`` bounds; their sizes do not matter.
struct RegionList: Sendable {
    /// Regions that a process may have: 16,384, where Linux has 65,530 (`vm.max_map_count`). Some operations take time in
    /// proportion to it.
    static let maximumCount = 16_384

    private(set) var regions: [Region] = []
    /// The last one that was found: most look-ups are for the same region as the one before.
    private var recent = 0

    var count: Int { regions.count }

    subscript(_ index: Int) -> Region { regions[index] }

    // MARK: Finding

    /// The region that this address is in.
    mutating func index(containing address: UInt64) -> Int? {
        if recent < regions.count, regions[recent].start <= address, address < regions[recent].end { return recent }
        let index = firstIndex(endingBehind: address)
        guard index < regions.count, regions[index].start <= address else { return nil }
        recent = index
        return index
    }

    /// The first region whose end is behind this address; ``count`` if there is none.
    func firstIndex(endingBehind address: UInt64) -> Int {
        var (low, high) = (0, regions.count)
        while low < high {
            let middle = (low + high) / 2
            if regions[middle].end <= address { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The regions that overlap a range.
    func indices(overlapping range: Range<UInt64>) -> Range<Int> {
        let first = firstIndex(endingBehind: range.lowerBound)
        guard !range.isEmpty else { return first..<first }
        var last = first
        while last < regions.count, regions[last].start < range.upperBound { last += 1 }
        return first..<last
    }

    func overlaps(_ range: Range<UInt64>) -> Bool {
        !indices(overlapping: range).isEmpty
    }

    /// Whether no address of the range is without a region.
    func covers(_ range: Range<UInt64>) -> Bool {
        var address = range.lowerBound
        var index = firstIndex(endingBehind: address)
        while address < range.upperBound {
            guard index < regions.count, regions[index].start <= address else { return false }
            (address, index) = (regions[index].end, index + 1)
        }
        return true
    }

    // MARK: Changing

    /// How many regions more there may be while a range is taken out of those it overlaps.
    func splits(by range: Range<UInt64>) -> Int {
        let overlapping = indices(overlapping: range)
        guard let first = overlapping.first, let last = overlapping.last else { return 0 }
        return (regions[first].start < range.lowerBound ? 1 : 0) + (regions[last].end > range.upperBound ? 1 : 0)
    }

    /// Takes out what lies in the range, in parts as they were.
    mutating func remove(_ range: Range<UInt64>) -> [Region] {
        let overlapping = indices(overlapping: range)
        guard let first = overlapping.first, let last = overlapping.last else { return [] }
        let removed = regions[overlapping].map { $0.clipped(to: range) }
        var rest: [Region] = []
        let (head, tail) = (regions[first], regions[last])
        if head.start < range.lowerBound { rest.append(head.clipped(to: head.start..<range.lowerBound)) }
        if tail.end > range.upperBound { rest.append(tail.clipped(to: range.upperBound..<tail.end)) }
        regions.replaceSubrange(overlapping, with: rest)
        return removed
    }

    /// Adds regions that follow each other, where there are none.
    mutating func insert(_ added: [Region]) {
        guard let start = added.first?.start, let end = added.last?.end else { return }
        let index = firstIndex(endingBehind: start)
        precondition(index == regions.count || regions[index].start >= end, "two regions overlap")
        var merged: [Region] = []
        let low = max(index - 1, 0)
        let high = min(index + 1, regions.count)
        for region in regions[low..<index] + added + regions[index..<high] {
            if let last = merged.last, last.continues(into: region) {
                merged[merged.count - 1].end = region.end
            } else {
                merged.append(region)
            }
        }
        regions.replaceSubrange(low..<high, with: merged)
    }

    /// No region has frames set aside any more, and some are one with their neighbours now.
    mutating func removeCharges() {
        let old = regions
        regions = []
        regions.reserveCapacity(old.count)
        for var region in old {
            region.traits.remove(.charged)
            if let last = regions.last, last.continues(into: region) {
                regions[regions.count - 1].end = region.end
            } else {
                regions.append(region)
            }
        }
    }

    /// Makes one region begin lower, where there is nothing.
    mutating func extendDown(_ index: Int, to start: UInt64) { regions[index].start = start }
}
