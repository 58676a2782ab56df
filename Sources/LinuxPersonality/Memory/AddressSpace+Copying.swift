// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// What system calls copy from and to a program's memory, as the kernel's own copy functions do: pages that are mapped and not there
/// yet come in, and the program's rights count.
extension AddressSpace {
    // MARK: Out of the program's memory

    /// Copies bytes out.
    ///
    /// - Throws: `EFAULT` if not all of them are there to be read; nothing is copied then.
    mutating func read(
        _ address: UInt64, count: Int, _ memory: borrowing GuestMemory
    ) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        try read(address, count: count, to: &bytes, memory)
        return bytes
    }

    /// Copies bytes out, behind what an array has already.
    mutating func read(
        _ address: UInt64, count: Int, to bytes: inout [UInt8], _ memory: borrowing GuestMemory
    ) throws(Errno) {
        let range = try accessible(address, count, for: .read, memory)
        let length = bytes.count
        bytes.reserveCapacity(length + count)
        var next = range.lowerBound
        while next < range.upperBound {
            guard let run = stretch(from: next, below: range.upperBound, for: .read, memory),
                memory.append(run.count, at: run.physical, to: &bytes)
            else {
                bytes.removeLast(bytes.count - length)
                throw .efault
            }
            next += UInt64(run.count)
        }
    }

    /// One little-endian word of 1 to 8 bytes.
    mutating func readWord(
        _ address: UInt64, bytes: Int = 8, _ memory: borrowing GuestMemory
    ) throws(Errno) -> UInt64 {
        precondition((1...8).contains(bytes))
        let range = try accessible(address, bytes, for: .read, memory)
        guard let run = stretch(from: address, below: range.upperBound, for: .read, memory) else { throw .efault }
        if run.count == bytes, let word = memory.word(at: run.physical &- UInt64(8 - bytes)) {
            return word >> (UInt64(8 - bytes) * 8)
        }
        return try read(address, count: bytes, memory).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Bytes up to a zero, which is left out.
    ///
    /// - Parameter limit: how many of them there may be.
    /// - Throws: `ENAMETOOLONG` if there are more, `EFAULT` if memory ends before the zero.
    mutating func cString(
        at address: UInt64, limit: Int, _ memory: borrowing GuestMemory
    ) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        var next = address
        while bytes.count <= limit {
            let page = GuestMemory.pageBytes - next % GuestMemory.pageBytes
            let range = try accessible(next, 1, for: .read, memory)
            guard let run = stretch(from: next, below: range.upperBound, for: .read, memory) else { throw .efault }
            let most = min(Int(page), limit - bytes.count + 1)
            guard let length = memory.distanceToZero(from: run.physical, limit: most),
                memory.append(length, at: run.physical, to: &bytes)
            else { throw .efault }
            if length < most { return bytes }
            next += UInt64(most)
        }
        throw .enametoolong
    }

    // MARK: Into the program's memory

    /// Copies bytes in.
    ///
    /// - Throws: `EFAULT` if not all of it may be written; nothing is copied then, unless memory is used up half-way.
    mutating func write(
        _ bytes: ArraySlice<UInt8>, at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        let range = try accessible(address, bytes.count, for: .write, memory)
        var next = range.lowerBound
        var index = bytes.startIndex
        while next < range.upperBound {
            guard let run = stretch(from: next, below: range.upperBound, for: .write, memory),
                memory.write(bytes[index..<index + run.count], at: run.physical)
            else { throw .efault }
            next += UInt64(run.count)
            index += run.count
        }
    }

    /// Copies bytes in.
    mutating func write(
        _ bytes: [UInt8], at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) { try write(bytes[...], at: address, memory) }

    /// Copies bytes in.
    mutating func write(
        _ bytes: some Collection<UInt8>, at address: UInt64, _ memory: borrowing GuestMemory
    ) throws(Errno) { try write(ArraySlice(bytes), at: address, memory) }

    /// One little-endian word of 1 to 8 bytes.
    mutating func writeWord(
        _ word: UInt64, at address: UInt64, bytes: Int = 8, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        precondition((1...8).contains(bytes))
        if bytes == 8, address % 8 == 0 {
            let range = try accessible(address, 8, for: .write, memory)
            guard let run = stretch(from: address, below: range.upperBound, for: .write, memory),
                memory.setWord(word, at: run.physical)
            else { throw .efault }
            return
        }
        try write((0..<bytes).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) }, at: address, memory)
    }

    /// Makes bytes zero.
    mutating func clear(
        _ address: UInt64, count: Int, _ memory: borrowing GuestMemory
    ) throws(Errno) {
        let range = try accessible(address, count, for: .write, memory)
        var next = range.lowerBound
        while next < range.upperBound {
            guard let run = stretch(from: next, below: range.upperBound, for: .write, memory),
                memory.clear(run.count, at: run.physical)
            else { throw .efault }
            next += UInt64(run.count)
        }
    }

    // MARK: What may be copied

    /// How many bytes from an address on, and at most `count`, the program may access that way: what a call that may do a part of
    /// its work goes by.
    mutating func accessibleCount(
        _ address: UInt64, count: Int, for access: MemoryAccess, _ memory: borrowing GuestMemory
    ) -> Int {
        guard count > 0, address < AddressLayout.mappable.upperBound else { return 0 }
        let end = address + min(UInt64(count), AddressLayout.mappable.upperBound - address)
        var next = address
        while next < end, let index = regionIndex(growingTo: next, memory) {
            let region = regions[index]
            guard region.protection.allows(access), let present = region.presentable, present.contains(next) else {
                break
            }
            next = present.upperBound
        }
        return Int(min(next, end) - address)
    }

    /// The addresses of an access that is allowed as a whole. A count of 0 is always.
    private mutating func accessible(
        _ address: UInt64, _ count: Int, for access: MemoryAccess, _ memory: borrowing GuestMemory
    ) throws(Errno) -> Range<UInt64> {
        guard count > 0 else {
            guard count == 0 else { throw .efault }
            return 0..<0
        }
        // Each page takes a frame of its own, so that more than there are can never be there together.
        guard UInt64(count) <= memory.bytes, accessibleCount(address, count: count, for: access, memory) == count
        else { throw .efault }
        return address..<address + UInt64(count)
    }

    /// Where an address leads, and how many bytes from there on follow each other in guest physical memory too. Brings in what is
    /// not there. The access must have been found to be allowed.
    private mutating func stretch(
        from address: UInt64, below end: UInt64, for access: MemoryAccess, _ memory: borrowing GuestMemory
    ) -> (physical: UInt64, count: Int)? {
        var entry = tables.entry(of: address, memory)
        if !entry.isPresent {
            guard bringIn(address, for: access, memory) == .mapped else { return nil }
            entry = tables.entry(of: address, memory)
        }
        let offset = address % GuestMemory.pageBytes
        let physical = entry.address + offset
        let inPage = GuestMemory.pageBytes - offset
        guard end - address > inPage else { return (physical, Int(end - address)) }
        let pages = pagesInARow(behind: entry.frame, from: address + inPage, below: end, memory)
        return (physical, Int(min(inPage + UInt64(pages) * GuestMemory.pageBytes, end - address)))
    }

    /// How many pages from an address on have the frames that follow this one, as far as one page table tells.
    private func pagesInARow(
        behind frame: UInt32, from address: UInt64, below end: UInt64, _ memory: borrowing GuestMemory
    ) -> Int {
        guard let leaf = tables.nextLeaf(from: address, below: end, memory), leaf.addresses.lowerBound == address
        else { return 0 }
        let pages = Int((leaf.addresses.upperBound - address + GuestMemory.pageBytes - 1) / GuestMemory.pageBytes)
        var next = frame
        for (count, bits) in memory.words(at: leaf.entries, count: pages).enumerated() {
            let entry = PageEntry(bits: bits)
            next &+= 1
            guard entry.isPresent, entry.frame == next else { return count }
        }
        return pages
    }
}
