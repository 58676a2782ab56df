// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What lies where in guest memory when a job starts. What is in none of the regions is zero and nobody's.
public struct MemoryMap: Sendable, Hashable {
    /// Some bytes of guest memory.
    public struct Region: Sendable, Hashable {
        /// Whose they are. The raw values are the names in JSON.
        public enum Role: String, Sendable, Hashable, CaseIterable {
            /// A part of the image, byte for byte.
            case image
            /// Zeros that the image counts as its own: its .bss.
            case zeros
            /// Memory that the image will use before it looks at what else is there.
            case workspace
            /// A module, or an initial RAM disk.
            case module
            /// A text that the image is passed.
            case text
            /// What a boot loader tells a kernel, or the processor reads: tables.
            case structure
            /// A stack to start with.
            case stack
        }

        /// The address of the first byte.
        public let address: UInt64
        /// How many bytes; never 0, and the last of them is in guest memory.
        public let count: UInt64
        /// Whose they are.
        public let role: Role
        /// What they are, for people.
        public let name: String
        /// What they hold: nothing for zeros, else as many as there are.
        public let bytes: ArraySlice<UInt8>

        /// The first address behind them.
        public var end: UInt64 { address + count }
    }

    /// Bytes of guest memory.
    public let memoryBytes: UInt64
    /// By rising address, none over another.
    public private(set) var regions: [Region] = []

    init(memoryBytes: UInt64) { self.memoryBytes = memoryBytes }

    /// Adds bytes, and zeros behind them, at an address of the image's own.
    ///
    /// - Parameters:
    ///   - bytes: at most `count`; the rest is zeros.
    ///   - field: the field that says the address, and where in the file it is.
    mutating func add(
        _ bytes: ArraySlice<UInt8>, count: UInt64, at address: UInt64, _ role: Region.Role = .image, named name: String,
        zerosNamed zeros: String, by field: (name: String, offset: UInt64?)
    ) throws(LaunchError) {
        guard count > 0 else { return }
        let end = address.addingReportingOverflow(count)
        guard !end.overflow, end.partialValue <= memoryBytes else {
            throw LaunchError(
                .outsideMemory, field.name, address, at: field.offset,
                "\(name), \(count) bytes at \(address.hexadecimal), ends behind guest memory of \(memoryBytes) bytes")
        }
        if let other = regions.first(where: { $0.address < end.partialValue && $0.end > address }) {
            throw LaunchError(
                .overlap, field.name, address, at: field.offset,
                "\(name), \(count) bytes at \(address.hexadecimal), covers \(other.name) at \(other.address.hexadecimal)"
            )
        }
        let filled = min(UInt64(bytes.count), count)
        if filled > 0 {
            insert(Region(address: address, count: filled, role: role, name: name, bytes: bytes.prefix(Int(filled))))
        }
        if count > filled {
            insert(
                Region(
                    address: address + filled, count: count - filled, role: role == .image ? .zeros : role, name: zeros,
                    bytes: []))
        }
    }

    private mutating func insert(_ region: Region) {
        let index = regions.firstIndex { $0.address > region.address } ?? regions.endIndex
        regions.insert(region, at: index)
    }

    // MARK: Room

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

    /// Puts something of ours where nothing is.
    ///
    /// - Parameters:
    ///   - count: how many bytes it has; 0 counts as 1.
    ///   - alignment: a power of two.
    ///   - make: makes the bytes for an address; as many as there are to be, or none for zeros.
    /// - Returns: its address.
    @discardableResult
    mutating func place(
        _ count: UInt64, alignment: UInt64 = 16, _ search: Search = .low, _ role: Region.Role = .structure,
        named name: String, make: (UInt64) -> ArraySlice<UInt8> = { _ in [] }
    ) throws(LaunchError) -> UInt64 {
        let count = max(count, 1)
        guard let address = room(count, alignment: alignment, search) else {
            throw LaunchError(
                .noRoom, name, count,
                "there is no room for \(name), \(count) bytes, beside the image in \(memoryBytes) bytes of guest memory"
            )
        }
        let bytes = make(address)
        insert(
            Region(
                address: address, count: count, role: role, name: name, bytes: bytes.prefix(Int(clamping: count))))
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

    // MARK: Reading

    /// The first address behind all regions.
    var end: UInt64 { regions.last?.end ?? 0 }

    /// The region that an address is in.
    func region(at address: UInt64) -> Region? {
        regions.first { $0.address <= address && address < $0.end }
    }
}
