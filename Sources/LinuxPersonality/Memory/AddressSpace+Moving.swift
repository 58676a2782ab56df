// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// What `mremap` is asked for.
struct RemapRequest: Sendable {
    var address: UInt64
    /// Whole pages, more than none.
    var oldBytes: UInt64
    /// Whole pages, more than none.
    var newBytes: UInt64
    /// `MREMAP_MAYMOVE`.
    var mayMove = false
    /// `MREMAP_FIXED`: where it shall be afterwards.
    var target: UInt64?
}

extension AddressSpace {
    /// Makes a part of a region larger or smaller, in its place or at another one. Pages are moved by their page table entries;
    /// no byte is copied. Returns where it is.
    ///
    /// - Throws: `EFAULT` if that is no part of one region, `ENOMEM`, `EINVAL`, `EPERM` as `mremap` does.
    mutating func remap(_ request: RemapRequest, _ memory: borrowing GuestMemory) throws(Errno) -> UInt64 {
        guard max(request.newBytes, request.oldBytes) <= AddressLayout.userEnd else { throw .einval }
        let target = try request.target.map { address throws(Errno) in try targetRange(address, request) }
        guard let index = regions.index(containing: request.address) else { throw .efault }
        let region = regions[index]
        let kept = min(request.oldBytes, request.newBytes)
        if let target {
            let target = try fixedRange(target.lowerBound, request.newBytes)
            guard kept <= region.end - request.address else { throw .efault }
            return try move(request, region, to: target, memory)
        }
        if kept == request.newBytes {
            try unmap(request.address + kept..<request.address + request.oldBytes, memory)
            return request.address
        }
        guard kept <= region.end - request.address else { throw .efault }
        if try growInPlace(request, region, memory) { return request.address }
        let bounds = AddressLayout.mappable.lowerBound..<AddressLayout.mmapTop
        guard request.mayMove, let target = lastGap(of: request.newBytes, in: bounds) else { throw .enomem }
        return try move(request, region, to: target, memory)
    }

    private func targetRange(_ address: UInt64, _ request: RemapRequest) throws(Errno) -> Range<UInt64> {
        guard address % GuestMemory.pageBytes == 0, address <= AddressLayout.userEnd - request.newBytes else {
            throw .einval
        }
        let target = address..<address + request.newBytes
        guard !target.overlaps(request.address..<request.address + request.oldBytes) else { throw .einval }
        return target
    }

    // MARK: In its place

    /// False if there is no room.
    private mutating func growInPlace(
        _ request: RemapRequest, _ region: Region, _ memory: borrowing GuestMemory
    ) throws(Errno) -> Bool {
        let grown = request.newBytes - request.oldBytes
        guard request.address + request.oldBytes == region.end, grown <= AddressLayout.mappable.upperBound - region.end
        else { return false }
        let added = region.end..<region.end + grown
        let next = regions.firstIndex(endingBehind: region.end)
        guard next == regions.count || regions[next].start >= added.upperBound else { return false }
        guard region.reachesNoEndOfOffsets(with: grown) else { throw .einval }
        let grownPages = Int(grown / GuestMemory.pageBytes)
        var region = region
        if try demandFrames(forMore: grownPages, than: &region, memory) {
            guard makeTables(for: added, memory), frames.charge(grownPages) else { throw refuse() }
        }
        // One region, so that it can grow again: its parts have the same traits.
        _ = regions.remove(region.addresses)
        var part = region
        (part.start, part.end) = (added.lowerBound, added.upperBound)
        part.content = region.content.advanced(by: region.bytes)
        regions.insert([region, part])
        bringInAtOnce(part, memory)
        return true
    }

    /// Whether frames are to be set aside for what a region grows by. A region that becomes too large for that has none set aside
    /// from then on.
    private mutating func demandFrames(
        forMore pages: Int, than region: inout Region, _ memory: borrowing GuestMemory
    ) throws(Errno) -> Bool {
        guard region.needsCharge || region.isCharged else { return false }
        if region.isCharged, frames.mayCharge(region.pages + pages, missing: pages) { return true }
        try demandFree(pages)
        guard region.isCharged else { return false }
        frames.uncharge(region.pages, backed: backedPages(of: region.addresses, memory))
        region.traits.remove(.charged)
        return false
    }

    // MARK: To another place

    private mutating func move(
        _ request: RemapRequest, _ region: Region, to target: Range<UInt64>, _ memory: borrowing GuestMemory
    ) throws(Errno) -> UInt64 {
        let kept = request.address..<request.address + min(request.oldBytes, request.newBytes)
        guard regions.count + 3 <= RegionList.maximumCount else { throw .enomem }
        guard region.reachesNoEndOfOffsets(with: request.newBytes) else { throw .einval }
        // What grows is charged whether it moves or not; what moves keeps its charge.
        var moved = region.clipped(to: kept)
        let grownPages = Int((target.upperBound - target.lowerBound) / GuestMemory.pageBytes) - moved.pages
        let isCharged = moved.isCharged
        if grownPages > 0 {
            _ = try demandFrames(forMore: grownPages, than: &moved, memory)
            if isCharged, !moved.isCharged {
                _ = regions.remove(kept)
                regions.insert([moved])
            }
        }
        let missing = moved.isCharged ? grownPages : 0
        guard missing <= frames.available, makeTables(for: target, ofPagesFrom: moved, memory),
            missing <= frames.available
        else { throw refuse() }
        // Of the old range what is behind the kept part goes, over other regions as well.
        remove(target, memory)
        if request.oldBytes > request.newBytes {
            remove(kept.upperBound..<request.address + request.oldBytes, memory)
        }
        guard frames.charge(missing) else { throw .enomem }
        _ = regions.remove(kept)
        moveEntries(kept, to: target.lowerBound, memory)
        (moved.start, moved.end) = (target.lowerBound, target.upperBound)
        moved.traits.subtract([.growsDown, .heap, .stack])
        regions.insert([moved])
        return target.lowerBound
    }

    /// Makes the tables that the entries of a region, or all of its pages if it is charged, need at another place.
    private mutating func makeTables(
        for target: Range<UInt64>, ofPagesFrom region: Region, _ memory: borrowing GuestMemory
    ) -> Bool {
        if region.isCharged { return makeTables(for: target, memory) }
        var address = region.start
        while let leaf = tables.nextLeaf(from: address, below: region.end, memory) {
            address = leaf.addresses.upperBound
            let start = target.lowerBound + (leaf.addresses.lowerBound - region.start)
            guard makeTables(for: start..<start + UInt64(leaf.addresses.count), memory) else { return false }
        }
        return true
    }

    /// Moves the entries of a range to another place, whose tables are there.
    private mutating func moveEntries(_ range: Range<UInt64>, to target: UInt64, _ memory: borrowing GuestMemory) {
        var moved = FrameRuns()
        var address = range.lowerBound
        while let leaf = tables.nextLeaf(from: address, below: range.upperBound, memory) {
            address = leaf.addresses.upperBound
            let entries = memory.words(at: leaf.entries, count: leaf.pages)
            for bits in entries where bits != 0 { moved.add(PageEntry(bits: bits).frame) }
            guard entries.contains(where: { $0 != 0 }) else { continue }
            _ = memory.clear(leaf.pages * 8, at: leaf.entries)
            store(entries, at: target + (leaf.addresses.lowerBound - range.lowerBound), memory)
        }
        forget(moved, memory)
    }

    private func store(_ entries: [UInt64], at start: UInt64, _ memory: borrowing GuestMemory) {
        let end = start + UInt64(entries.count) * GuestMemory.pageBytes
        var address = start
        while let leaf = tables.nextLeaf(from: address, below: end, memory) {
            let first = Int((leaf.addresses.lowerBound - start) / GuestMemory.pageBytes)
            _ = memory.setWords(Array(entries[first..<first + leaf.pages]), at: leaf.entries)
            address = leaf.addresses.upperBound
        }
    }
}

extension Region {
    /// Whether offsets in its file stay what they can be if it grows by so much.
    func reachesNoEndOfOffsets(with bytes: UInt64) -> Bool {
        guard case .file(_, let offset) = content else { return true }
        return offset <= UInt64(Int64.max) - self.bytes - bytes
    }
}
