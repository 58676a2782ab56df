// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension AddressSpace {
    /// Gives the regions of a range other rights, up to the first address that has none.
    ///
    /// Memory that becomes writable is charged from then on, by ``FrameAccount``'s rule. Memory that was reserved without rights and
    /// with `MAP_NORESERVE` is charged too, unlike on Linux: so the C library's arenas fail to grow, rather than the program dying
    /// of a fault.
    ///
    /// - Throws: `ENOMEM` if something in the range is not mapped or cannot be charged, `EACCES` if it is a shared file and shall be
    ///   written; what lies before that has its new rights.
    mutating func protect(
        _ range: Range<UInt64>, _ protection: Protection, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        guard regions.count + regions.splits(by: range) <= RegionList.maximumCount else { throw .enomem }
        var changed: [Region] = []
        var narrowed = FrameRuns()
        var refusal: Errno?
        var address = range.lowerBound
        for index in regions.indices(overlapping: range) where refusal == nil {
            var part = regions[index].clipped(to: range)
            guard part.start == address else { break }
            do throws(Errno) {
                try protect(&part, protection, &narrowed, memory)
                changed.append(part)
                address = part.end
            } catch { refusal = error }
        }
        _ = regions.remove(range.lowerBound..<address)
        regions.insert(changed)
        forget(narrowed, memory)
        for region in changed { bringInAtOnce(region, memory) }
        if let refusal { throw refusal }
        guard address == range.upperBound else { throw .enomem }
    }

    /// - Parameter narrowed: takes up the frames of pages that allow less than before.
    private mutating func protect(
        _ part: inout Region, _ protection: Protection, _ narrowed: inout FrameRuns, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        guard part.protection != protection else { return }
        if part.traits.contains(.neverWritable), protection.contains(.write) { throw .eacces }
        let wasReserved = part.protection.isEmpty
        if wasReserved { part.traits.remove(.unreserved) }
        part.protection = protection
        if part.needsCharge, !part.isCharged { try demandFrames(for: &part, wasReserved: wasReserved, memory) }
        rewrite(part, &narrowed, memory)
    }

    private mutating func demandFrames(
        for part: inout Region, wasReserved: Bool, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        let backed = backedPages(of: part.addresses, memory)
        if frames.mayCharge(part.pages, missing: part.pages - backed) {
            guard makeTables(for: part.addresses, memory), frames.charge(part.pages, backed: backed) else {
                throw refuse()
            }
            part.traits.insert(.charged)
        } else if !wasReserved || part.pages <= frames.largestCharge {
            try demandFree(part.pages - backed)
        }
    }

    /// How many pages of a range have a frame.
    func backedPages(of range: Range<UInt64>, _ memory: borrowing GuestMemory) -> Int {
        var count = 0
        var address = range.lowerBound
        while let leaf = tables.nextLeaf(from: address, below: range.upperBound, memory) {
            address = leaf.addresses.upperBound
            for bits in memory.words(at: leaf.entries, count: leaf.pages) where bits != 0 { count += 1 }
        }
        return count
    }

    /// Makes the entries of the pages that are there what their region says.
    private func rewrite(_ part: Region, _ narrowed: inout FrameRuns, _ memory: borrowing GuestMemory) {
        var address = part.start
        while let leaf = tables.nextLeaf(from: address, below: part.end, memory) {
            address = leaf.addresses.upperBound
            var entries = memory.words(at: leaf.entries, count: leaf.pages)
            var isChanged = false
            for index in entries.indices where entries[index] != 0 {
                let old = PageEntry(bits: entries[index])
                let new = PageEntry(frame: old.frame, part.protection)
                guard new != old else { continue }
                if old.allowsMore(than: new) { narrowed.add(old.frame) }
                entries[index] = new.bits
                isChanged = true
            }
            guard isChanged else { continue }
            let isInside = memory.setWords(entries, at: leaf.entries)
            assert(isInside, "a page table is in memory")
        }
    }
}
