// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension AddressSpace {
    /// Calls `body` with each region's part of a range, and throws `ENOMEM` afterwards if there are gaps.
    mutating func forEachPart(
        of range: Range<UInt64>, _ body: (inout AddressSpace, Region) throws(Errno) -> Void
    ) throws(Errno) {
        var address = range.lowerBound
        var hasGaps = false
        // What is done with one part may make others one region.
        let parts = regions.indices(overlapping: range).map { regions[$0].clipped(to: range) }
        for part in parts {
            if part.start != address { hasGaps = true }
            try body(&self, part)
            address = part.end
        }
        if hasGaps || address != range.upperBound { throw .enomem }
    }

    /// What was written to these pages is lost: they are zeros, or what their file says, from here on.
    ///
    /// Charged anonymous pages keep their frames, whose host memory is given back: that spares the program a fault for each.
    mutating func discard(_ part: Region, _ memory: borrowing GuestMemory) {
        guard part.isCharged, part.file == nil else { return dropPages(of: part, memory) }
        var emptied = FrameRuns()
        var address = part.start
        while let leaf = tables.nextLeaf(from: address, below: part.end, memory) {
            address = leaf.addresses.upperBound
            for bits in memory.words(at: leaf.entries, count: leaf.pages) where bits != 0 {
                emptied.add(PageEntry(bits: bits).frame)
            }
        }
        for run in emptied.runs { empty(run, memory) }
    }

    /// Brings all pages of a part of a region in.
    mutating func populate(
        _ part: Region, for access: MemoryAccess, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        guard part.protection.allows(access) else { throw .einval }
        var page = part.start
        while page < part.end {
            if tables.entry(of: page, memory).bits == 0 {
                switch bringIn(page, for: access, memory) {
                case .mapped: break
                case .noMemory: throw .enomem
                case .violation: throw .efault
                }
            }
            page += GuestMemory.pageBytes
        }
    }

    /// A byte for each page of a range: 1 if it has a frame. nil if something in the range is not mapped.
    func residency(of range: Range<UInt64>, _ memory: borrowing GuestMemory) -> [UInt8]? {
        guard regions.covers(range) else { return nil }
        var answers = [UInt8](repeating: 0, count: Int((range.upperBound - range.lowerBound) / GuestMemory.pageBytes))
        var address = range.lowerBound
        while let leaf = tables.nextLeaf(from: address, below: range.upperBound, memory) {
            address = leaf.addresses.upperBound
            var index = Int((leaf.addresses.lowerBound - range.lowerBound) / GuestMemory.pageBytes)
            for bits in memory.words(at: leaf.entries, count: leaf.pages) {
                if bits != 0 { answers[index] = 1 }
                index += 1
            }
        }
        return answers
    }

    // MARK: The heap

    /// Where `brk` starts from: the end of the program's last segment, rounded up.
    mutating func setProgramBreak(_ address: UInt64) {
        let start = Self.roundedUp(address) ?? AddressLayout.mappable.upperBound
        programBreak = (start, start)
    }

    /// Moves the program break, if that can be. Returns where it is, which need not be the end of a page.
    mutating func moveBreak(to address: UInt64, _ memory: borrowing GuestMemory) -> UInt64 {
        let (start, end) = programBreak
        guard address >= start, address <= AddressLayout.mappable.upperBound, let newEnd = Self.roundedUp(address),
            let oldEnd = Self.roundedUp(end)
        else { return end }
        do throws(Errno) {
            if newEnd < oldEnd { try unmap(newEnd..<oldEnd, memory) }
            if newEnd > oldEnd { try growHeap(oldEnd..<newEnd, memory) }
            programBreak.end = address
        } catch { return end }
        return address
    }

    private mutating func growHeap(_ range: Range<UInt64>, _ memory: borrowing GuestMemory) throws(Errno) {
        _ = try map(
            MapRequest(
                address: range.lowerBound, bytes: range.upperBound - range.lowerBound, protection: [.read, .write],
                placement: .fixedIfFree, traits: .heap), memory)
    }

    // MARK: The stack

    /// Maps the first thread's stack, which grows as it is used. Returns its end.
    mutating func mapStack(_ memory: borrowing GuestMemory) throws(Errno) -> UInt64 {
        let bytes = AddressLayout.firstStackBytes
        let start = try map(
            MapRequest(
                address: AddressLayout.stackTop - bytes, bytes: bytes, protection: [.read, .write],
                placement: .fixedIfFree, traits: [.growsDown, .stack]), memory)
        // All of it now, in one go: programs use most of it.
        if let index = regions.index(containing: start) { try populate(regions[index], for: .write, memory) }
        return start + bytes
    }
}
