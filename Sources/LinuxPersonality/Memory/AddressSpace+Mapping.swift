// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// What shall be mapped, and where.
struct MapRequest: Sendable {
    /// The address, or a hint, or 0 for no hint.
    var address: UInt64 = 0
    /// Rounded up to whole pages.
    var bytes: UInt64
    var protection: Protection
    var placement = Placement.anywhere
    var content = Region.Content.anonymous
    /// Never ``Region/Traits/charged``, which follows from the rest.
    var traits: Region.Traits = []
    /// Whether frames are set aside for it whatever its rights are.
    var isWhole = false
    /// What is wrong with it beside its place, which comes first.
    var refusal: Errno?

    enum Placement: Sendable {
        /// At the hint if that is free; else below ``AddressLayout/mmapTop``.
        case anywhere
        /// The same, below ``AddressLayout/lowEnd``: `MAP_32BIT`.
        case low
        /// There, in place of what is there: `MAP_FIXED`.
        case fixed
        /// There, or nowhere: `MAP_FIXED_NOREPLACE`.
        case fixedIfFree
    }
}

extension AddressSpace {
    // MARK: Mapping

    /// Makes a region. Returns where it is.
    ///
    /// Which frames it gets, and when, is ``FrameAccount``'s rule; what was written under the old mapping is lost.
    ///
    /// - Throws: `EINVAL`, `ENOMEM`, `EPERM`, `EEXIST`, `EOVERFLOW` as `mmap` does.
    mutating func map(_ request: MapRequest, _ memory: borrowing GuestMemory) throws(Errno) -> UInt64 {
        guard request.bytes > 0 else { throw .einval }
        guard let bytes = Self.roundedUp(request.bytes), bytes <= AddressLayout.userEnd else { throw .enomem }
        if case .file(_, let offset) = request.content {
            guard offset % GuestMemory.pageBytes == 0 else { throw .einval }
            // Linux counts pages of a file in 64 bits, and bytes in 63.
            guard offset <= UInt64(Int64.max) - bytes else { throw .eoverflow }
        }
        let range = try place(request, bytes)
        if let refusal = request.refusal { throw refusal }
        guard regions.count + regions.growth(removing: range) < RegionList.maximumCount else { throw .enomem }
        var region = Region(
            start: range.lowerBound, end: range.upperBound, protection: request.protection,
            content: request.content, traits: request.traits)
        if try demandFrames(for: region, request, memory) { region.traits.insert(.charged) }
        remove(range, memory)
        if region.isCharged { guard frames.charge(region.pages) else { throw .enomem } }
        regions.insert([region])
        bringInAtOnce(region, memory)
        return range.lowerBound
    }

    /// Whether frames are to be set aside for a new region. If so its page tables are made, so that nothing can be missing later.
    /// What there is in its place counts as given up.
    private mutating func demandFrames(
        for region: Region, _ request: MapRequest, _ memory: borrowing GuestMemory
    ) throws(Errno) -> Bool {
        guard region.needsCharge || request.isWhole else { return false }
        let missing = region.pages - chargedPages(in: region.addresses)
        if request.isWhole || frames.mayCharge(region.pages, missing: missing) {
            guard missing <= frames.available, makeTables(for: region.addresses, memory), missing <= frames.available
            else { throw refuse() }
            return true
        }
        let isCommitment =
            request.placement == .fixed && region.pages > frames.largestCharge && isReserved(region.addresses)
        if !isCommitment { try demandFree(missing) }
        return false
    }

    /// Whether all of a range is mapped without any rights.
    private func isReserved(_ range: Range<UInt64>) -> Bool {
        regions.covers(range) && regions.indices(overlapping: range).allSatisfy { regions[$0].protection.isEmpty }
    }

    /// - Throws: `ENOMEM` if so many pages, with their tables, are more than there are free frames.
    mutating func demandFree(_ pages: Int) throws(Errno) {
        guard pages + pages / 512 + 1 <= frames.free else { throw refuse() }
    }

    /// Notes that memory is used up.
    mutating func refuse() -> Errno {
        frames.noteRefusal()
        return .enomem
    }

    private func chargedPages(in range: Range<UInt64>) -> Int {
        regions.indices(overlapping: range).reduce(0) { sum, index in
            let part = regions[index].clipped(to: range)
            return part.isCharged ? sum + part.pages : sum
        }
    }

    /// Makes the page tables for a range whose length is bounded by the frames there are.
    mutating func makeTables(for range: Range<UInt64>, _ memory: borrowing GuestMemory) -> Bool {
        var address = range.lowerBound
        while address < range.upperBound {
            guard let leaf = tables.leaf(at: address, below: range.upperBound, memory, from: &frames) else {
                return false
            }
            address = leaf.addresses.upperBound
        }
        return true
    }

    /// Makes a region that holds bytes from its beginning on, whatever its rights are: anonymous memory to all intents.
    ///
    /// - Parameter content: gives some bytes from an offset on, at most so many; none at the end.
    mutating func map(
        _ request: MapRequest, holding content: (_ offset: Int, _ limit: Int) -> ArraySlice<UInt8>,
        _ memory: borrowing GuestMemory
    ) throws(Errno) -> UInt64 {
        var request = request
        request.isWhole = true
        let start = try map(request, memory)
        var offset = 0
        while offset < Int(clamping: request.bytes) {
            let address = start + UInt64(offset)
            let inPage = Int(GuestMemory.pageBytes - address % GuestMemory.pageBytes)
            let piece = content(offset, min(inPage, Int(clamping: request.bytes) - offset))
            guard !piece.isEmpty else { break }
            guard place(piece, at: address, memory) else { throw .enomem }
            offset += piece.count
        }
        return start
    }

    /// Puts bytes into a page that is charged, whatever its rights are.
    private mutating func place(
        _ piece: ArraySlice<UInt8>, at address: UInt64, _ memory: borrowing GuestMemory
    ) -> Bool {
        guard let index = regions.index(containing: address), bringIn(address, of: regions[index], memory) == .mapped
        else { return false }
        let entry = tables.entry(of: address, memory)
        return memory.write(piece, at: entry.address + address % GuestMemory.pageBytes)
    }

    // MARK: Placing

    private func place(_ request: MapRequest, _ bytes: UInt64) throws(Errno) -> Range<UInt64> {
        switch request.placement {
        case .fixed, .fixedIfFree:
            let range = try fixedRange(request.address, bytes)
            if request.placement == .fixedIfFree, regions.overlaps(range) { throw .eexist }
            return range
        case .anywhere, .low:
            guard let range = freeRange(request, bytes) else { throw .enomem }
            return range
        }
    }

    private func freeRange(_ request: MapRequest, _ bytes: UInt64) -> Range<UInt64>? {
        let lowest = AddressLayout.mappable.lowerBound
        let end = request.placement == .low ? AddressLayout.lowEnd : AddressLayout.mappable.upperBound
        if let range = hinted(request.address, bytes, below: end) { return range }
        if request.placement == .low { return lastGap(of: bytes, in: lowest..<end) }
        return lastGap(of: bytes, in: lowest..<AddressLayout.mmapTop)
            ?? lastGap(of: bytes, in: AddressLayout.mmapTop..<end)
    }

    /// What Linux says of an address that is not to be changed.
    func fixedRange(_ address: UInt64, _ bytes: UInt64) throws(Errno) -> Range<UInt64> {
        guard address % GuestMemory.pageBytes == 0 else { throw .einval }
        guard address <= AddressLayout.mappable.upperBound, bytes <= AddressLayout.mappable.upperBound - address else {
            throw .enomem
        }
        guard address >= AddressLayout.mappable.lowerBound else { throw .eperm }
        return address..<address + bytes
    }

    private func hinted(_ hint: UInt64, _ bytes: UInt64, below end: UInt64) -> Range<UInt64>? {
        let start = hint & ~(GuestMemory.pageBytes - 1)
        guard start >= AddressLayout.mappable.lowerBound, start <= end, bytes <= end - start else { return nil }
        let range = start..<start + bytes
        let next = regions.firstIndex(endingBehind: start)
        return next == regions.count || range.upperBound <= lowestFreeEnd(below: next) ? range : nil
    }

    /// Where what is free below a region ends: a gap stays below one that grows down.
    private func lowestFreeEnd(below index: Int) -> UInt64 {
        let region = regions[index]
        guard region.traits.contains(.growsDown) else { return region.start }
        return region.start - min(region.start, AddressLayout.stackGap)
    }

    /// The highest place for so many bytes.
    func lastGap(of bytes: UInt64, in bounds: Range<UInt64>) -> Range<UInt64>? {
        guard bytes <= bounds.upperBound - bounds.lowerBound else { return nil }
        var index = regions.firstIndex(endingBehind: bounds.upperBound)
        var end = bounds.upperBound
        if index < regions.count { end = min(end, lowestFreeEnd(below: index)) }
        while true {
            let low = index > 0 ? max(regions[index - 1].end, bounds.lowerBound) : bounds.lowerBound
            if end > low, end - low >= bytes { return end - bytes..<end }
            guard index > 0, regions[index - 1].start > bounds.lowerBound else { return nil }
            index -= 1
            end = min(end, lowestFreeEnd(below: index))
        }
    }

    // MARK: Unmapping

    /// Takes away whatever is mapped in a range, which is whole pages. Costs are in proportion to what is there.
    ///
    /// - Throws: `ENOMEM` if a region would be split and there are as many as there may be.
    mutating func unmap(_ range: Range<UInt64>, _ memory: borrowing GuestMemory) throws(Errno) {
        guard regions.count + regions.growth(removing: range) <= RegionList.maximumCount else { throw .enomem }
        remove(range, memory)
    }

    /// The same, without a limit on the regions.
    mutating func remove(_ range: Range<UInt64>, _ memory: borrowing GuestMemory) {
        for region in regions.remove(range) {
            dropPages(of: region, memory)
            if region.isCharged { frames.discharge(region.pages) }
        }
    }

    /// Gives back the frames of a region, or of a part of one.
    mutating func dropPages(of part: Region, _ memory: borrowing GuestMemory) {
        var released = FrameRuns()
        var address = part.start
        while let leaf = tables.nextLeaf(from: address, below: part.end, memory) {
            address = leaf.addresses.upperBound
            let before = released.count
            for bits in memory.words(at: leaf.entries, count: leaf.pages) where bits != 0 {
                released.add(PageEntry(bits: bits).frame)
            }
            if released.count > before { clearEntries(of: leaf, memory) }
        }
        release(released, charged: part.isCharged, memory)
    }

    private func clearEntries(of leaf: PageTables.Leaf, _ memory: borrowing GuestMemory) {
        let isInside = memory.clear(leaf.pages * 8, at: leaf.entries)
        assert(isInside, "a page table is in memory")
    }

    // MARK: Rounding

    /// Up to whole pages; nil if that is too much.
    static func roundedUp(_ bytes: UInt64) -> UInt64? {
        let sum = bytes.addingReportingOverflow(GuestMemory.pageBytes - 1)
        return sum.overflow ? nil : sum.partialValue & ~(GuestMemory.pageBytes - 1)
    }
}

extension Region {
    /// Whether frames are set aside for it, or at least asked for, when it is mapped: memory that may be written.
    var needsCharge: Bool {
        protection.contains(.write) && traits.isDisjoint(with: [.unreserved, .growsDown, .threadStack])
    }
}

extension RegionList {
    /// How many regions more there are once a range is taken out; may be below 0.
    func growth(removing range: Range<UInt64>) -> Int { splits(by: range) - indices(overlapping: range).count }
}
