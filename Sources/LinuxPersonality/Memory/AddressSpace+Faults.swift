// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// What comes of a page fault.
enum FaultOutcome: Sendable, Hashable {
    /// The page is there now: the instruction can be tried again.
    case mapped
    /// The program may not do that.
    case violation(MemoryViolation)
    /// The program may, and there is no frame: Linux would kill it.
    case noMemory
}

/// Why an access is refused.
enum MemoryViolation: Sendable, Hashable {
    /// There is no region: `SIGSEGV` with `SEGV_MAPERR`.
    case notMapped
    /// The region does not allow it: `SIGSEGV` with `SEGV_ACCERR`.
    case forbidden
    /// The file that is mapped there ends before this page: `SIGBUS`.
    case beyondFile
}

extension AddressSpace {
    /// Pages that come in together with one that has to be copied from a file, or that has no frame set aside: 16, aligned, as
    /// Linux maps around a fault (`fault_around_bytes`, 64 KiB). An exit for a fault costs as much as copying some 60 pages, and a
    /// page that comes in without being used costs a frame for good.
    static let clusterPages = 16
    /// The most of them, for a program that goes through memory from one end to the other: each fault that goes on where the last
    /// window ended doubles it. 512 KiB.
    static let largestClusterPages = 128

    /// Answers a page fault of the program's. An access that is allowed, and to a page that is there, is answered by
    /// ``FaultOutcome/mapped`` too: processors may fault by what the page tables said before.
    mutating func resolveFault(
        at address: UInt64, for access: MemoryAccess, _ memory: borrowing GuestMemory
    ) -> FaultOutcome {
        counts.faults += 1
        return bringIn(address, for: access, memory)
    }

    /// Sees to it that a page is there.
    mutating func bringIn(
        _ address: UInt64, for access: MemoryAccess, _ memory: borrowing GuestMemory
    ) -> FaultOutcome {
        guard let index = regionIndex(growingTo: address, memory) else { return .violation(.notMapped) }
        let region = regions[index]
        guard region.protection.allows(access) else { return .violation(.forbidden) }
        return bringIn(address, of: region, memory)
    }

    /// The same for a region that the address is in, whatever its rights are.
    mutating func bringIn(
        _ address: UInt64, of region: Region, _ memory: borrowing GuestMemory
    ) -> FaultOutcome {
        let page = address & ~(GuestMemory.pageBytes - 1)
        guard let present = region.presentable, page < present.upperBound else { return .violation(.beyondFile) }
        let window = self.window(around: page, in: region, present)
        if fill(window, from: page, of: region, memory) { return .mapped }
        if !region.isCharged, breakPromises(memory), fill(window, from: page, of: region, memory) { return .mapped }
        frames.noteRefusal()
        return .noMemory
    }

    /// Makes the frames that were set aside everybody's, for want of others. False if there were none.
    private mutating func breakPromises(_ memory: borrowing GuestMemory) -> Bool {
        guard frames.promised > 0 else { return false }
        frames.uncharge(frames.charged, backed: frames.chargedBacked)
        regions.removeCharges()
        return true
    }

    /// Which pages come in with one, all in one page table.
    ///
    /// Pages that are charged and anonymous come in as many as a table has, while there is plenty: their frames are set aside
    /// anyway, and take no host memory before they are used; an entry costs nanoseconds, and a fault tens of microseconds.
    private mutating func window(
        around page: UInt64, in region: Region, _ present: Range<UInt64>
    ) -> Range<UInt64> {
        let table = page & ~(PageTables.leafBytes - 1)
        var window = present.clamped(to: table..<table + PageTables.leafBytes)
        if region.isCharged, region.file == nil, frames.isPlentiful { return window }
        var pages = Self.clusterPages
        if page == lastWindow.end { pages = min(max(lastWindow.pages * 2, pages), Self.largestClusterPages) }
        let bytes = UInt64(pages) * GuestMemory.pageBytes
        let start = page == lastWindow.end ? page : page & ~(bytes - 1)
        window = window.clamped(to: start..<start + bytes)
        lastWindow = (window.upperBound, pages)
        return window
    }

    /// A new region's pages, where that is likely to spare a fault and there is plenty: all, if they are charged and no more than a
    /// page table has, or from a file and no more than a cluster.
    mutating func bringInAtOnce(_ region: Region, _ memory: borrowing GuestMemory) {
        guard frames.isPlentiful, let present = region.presentable, !region.protection.isEmpty,
            region.isCharged || region.file != nil,
            region.pages <= (region.file == nil ? Int(PageTables.leafBytes / GuestMemory.pageBytes) : Self.clusterPages)
        else { return }
        var page = present.lowerBound
        while page < present.upperBound {
            let end = min(present.upperBound, (page | (PageTables.leafBytes - 1)) + 1)
            guard fill(page..<end, from: page, of: region, memory) else { return }
            page = end
        }
    }

    // MARK: Filling

    /// Gives frames to the pages of a window that have none. If there are not enough, to those from `page` on first; false if not
    /// even for that.
    ///
    /// - Parameter window: in one page table.
    private mutating func fill(
        _ window: Range<UInt64>, from page: UInt64, of region: Region, _ memory: borrowing GuestMemory
    ) -> Bool {
        guard let leaf = tables.leaf(at: window.lowerBound, below: window.upperBound, memory, from: &frames) else {
            return false
        }
        var entries = memory.words(at: leaf.entries, count: leaf.pages)
        let wanted = Int((page - window.lowerBound) / GuestMemory.pageBytes)
        guard wanted < entries.count else { return false }
        if entries[wanted] != 0 { return refresh(leaf.entries + UInt64(wanted) * 8, entries[wanted], region, memory) }
        let isScarce = !region.isCharged && frames.available < entries.count
        fill(isScarce ? wanted..<entries.count : 0..<entries.count, of: &entries, at: window.lowerBound, region, memory)
        return entries[wanted] != 0 && memory.setWords(entries, at: leaf.entries)
    }

    /// Makes an entry what its region says; it is that already, unless a processor went by an older one.
    private mutating func refresh(
        _ slot: UInt64, _ bits: UInt64, _ region: Region, _ memory: borrowing GuestMemory
    ) -> Bool {
        let entry = PageEntry(frame: PageEntry(bits: bits).frame, region.protection)
        return entry.bits == bits || memory.setWord(entry.bits, at: slot)
    }

    private mutating func fill(
        _ indices: Range<Int>, of entries: inout [UInt64], at start: UInt64, _ region: Region,
        _ memory: borrowing GuestMemory
    ) {
        var index = indices.lowerBound
        while index < indices.upperBound {
            var end = index
            while end < indices.upperBound, entries[end] == 0 { end += 1 }
            guard end > index else {
                index += 1
                continue
            }
            guard let run = frames.take(atMost: end - index, charged: region.isCharged) else { return }
            let address = start + UInt64(index) * GuestMemory.pageBytes
            for number in 0..<run.count {
                entries[index] = PageEntry(frame: run.first + number, region.protection).bits
                index += 1
            }
            counts.pages += UInt64(run.count)
            region.copyContent(at: address, to: run, memory)
        }
    }

    // MARK: Stacks

    /// The region of an address; one that grows down is made larger if the address is below it and may be its.
    mutating func regionIndex(growingTo address: UInt64, _ memory: borrowing GuestMemory) -> Int? {
        regions.index(containing: address) ?? grow(to: address, memory)
    }

    /// What a stack grows by at least: 128 KiB, if that fits. Linux takes a page at a time, for which a fault here costs too much.
    private static let stackStep: UInt64 = 128 << 10

    private mutating func grow(to address: UInt64, _ memory: borrowing GuestMemory) -> Int? {
        let index = regions.firstIndex(endingBehind: address)
        guard index < regions.count, regions[index].traits.contains(.growsDown) else { return nil }
        let region = regions[index]
        let page = address & ~(GuestMemory.pageBytes - 1)
        var lowest = region.end - min(region.end, AddressLayout.stackBytes)
        lowest = max(lowest, AddressLayout.mappable.lowerBound)
        // As in Linux what may not be touched needs no gap: it is one.
        if index > 0 {
            let below = regions[index - 1]
            lowest = max(lowest, below.end + (below.protection.isEmpty ? 0 : AddressLayout.stackGap))
        }
        guard page >= lowest else { return nil }
        let preferred = max(lowest, region.start - min(region.start, Self.stackStep))
        regions.extendDown(index, to: min(page, preferred))
        return index
    }
}

extension Region {
    /// The part of it that can have pages: all but what lies behind the end of its file. nil if that is nothing.
    var presentable: Range<UInt64>? {
        guard case .file(let file, let offset) = content else { return addresses }
        guard let size = AddressSpace.roundedUp(UInt64(file.bytes.count)), offset < size else { return nil }
        return start..<start + min(bytes, size - offset)
    }

    /// Puts the file's bytes, if there is one, into frames of zeros that begin at this address.
    func copyContent(at address: UInt64, to run: FrameRun, _ memory: borrowing GuestMemory) {
        guard case .file(let file, let offset) = content else { return }
        let part = file.bytes.bytes(
            from: Int(offset + (address - start)), count: Int(run.count) * Int(GuestMemory.pageBytes))
        let isInside = memory.write(part, at: run.addresses.lowerBound)
        assert(isInside, "frames are in memory")
    }
}
