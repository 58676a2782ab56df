// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

extension MemoryMap {
    /// Where to look for room, and from which end.
    enum Search {
        /// The lowest place below ``SystemArea``, where a worker would take a table for its own, else the lowest above 1 MiB. For
        /// what is small.
        case low
        /// The lowest place above 1 MiB and behind the image, else the lowest above 1 MiB. For modules.
        case behindImage
        /// The highest place above 1 MiB that ends at or below an address.
        case high(below: UInt64)
    }

    /// Something of ours that needs a place.
    struct Item {
        var name: String
        /// How many bytes it has; 0 counts as 1.
        var count: UInt64
        var role = Region.Role.structure
        /// A power of two.
        var alignment: UInt64 = 16
        var search = Search.low
    }

    /// Puts something of ours where nothing is.
    ///
    /// - Parameter make: makes the bytes for an address; as many as there are to be, or none for zeros.
    /// - Returns: its address.
    @discardableResult
    mutating func place(
        _ item: Item, make: (UInt64) -> ArraySlice<UInt8> = { _ in [] }
    ) throws(LaunchError) -> UInt64 {
        let count = max(item.count, 1)
        guard let address = room(count, alignment: item.alignment, item.search) else {
            throw LaunchError(
                .noRoom, item.name, count,
                "there is no room for \(item.name), \(count) bytes, beside the image in \(memoryBytes) bytes of guest memory"
            )
        }
        let bytes = make(address).prefix(Int(clamping: count))
        insert(Region(address: address, count: count, role: item.role, name: item.name, bytes: bytes))
        return address
    }

    private func room(_ count: UInt64, alignment: UInt64, _ search: Search) -> UInt64? {
        let upper = PCMemory.upperStart..<max(memoryBytes, PCMemory.upperStart)
        switch search {
        case .low:
            return lowest(count, alignment, in: PCMemory.firstFree..<SystemArea.start)
                ?? lowest(count, alignment, in: upper)
        case .behindImage:
            let image = regions.last { [.image, .zeros, .workspace].contains($0.role) }
            let start = min(max(image?.end ?? 0, upper.lowerBound), upper.upperBound)
            return lowest(count, alignment, in: start..<upper.upperBound) ?? lowest(count, alignment, in: upper)
        case .high(let limit):
            return highest(count, alignment, in: upper.lowerBound..<max(min(limit, memoryBytes), upper.lowerBound))
        }
    }

    /// The parts of a range that no region covers, from below.
    private func gaps(in range: Range<UInt64>) -> [Range<UInt64>] {
        var gaps: [Range<UInt64>] = []
        var start = range.lowerBound
        for region in regions where region.end > range.lowerBound && region.address < range.upperBound {
            if region.address > start { gaps.append(start..<region.address) }
            start = max(start, region.end)
        }
        if start < range.upperBound { gaps.append(start..<range.upperBound) }
        return gaps
    }

    private func lowest(_ count: UInt64, _ alignment: UInt64, in range: Range<UInt64>) -> UInt64? {
        for gap in gaps(in: range) {
            let start = gap.lowerBound.addingReportingOverflow(alignment - 1)
            guard !start.overflow else { continue }
            let address = start.partialValue & ~(alignment - 1)
            if address <= gap.upperBound, count <= gap.upperBound - address { return address }
        }
        return nil
    }

    private func highest(_ count: UInt64, _ alignment: UInt64, in range: Range<UInt64>) -> UInt64? {
        for gap in gaps(in: range).reversed() where count <= gap.upperBound - gap.lowerBound {
            let address = (gap.upperBound - count) & ~(alignment - 1)
            if address >= gap.lowerBound { return address }
        }
        return nil
    }
}
