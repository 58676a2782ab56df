// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// Guest physical memory: the only place where host code touches what a guest can change meanwhile.
///
/// Every access copies, and is checked against the bounds first; nothing here hands out a pointer. Memory starts as zeros and
/// takes host pages only when touched. Every store of the worker's goes through here and is noted, since KVM's dirty log does not
/// see it.
public struct GuestMemory: ~Copyable, Sendable {
    /// The size of a page: 4 KiB.
    public static let pageBytes: UInt64 = 4096

    let mapping: Mapping
    /// Pages that were written through this value, or given back, since the memory was last restored.
    let changed: PageSet

    /// SAFETY: valid for ``bytes`` bytes as long as this value lives.
    var base: UnsafeMutableRawPointer { unsafe mapping.base }

    /// Bytes of memory; the first address that is outside.
    public var bytes: UInt64 { UInt64(mapping.count) }

    /// - Parameter inSmallPages: whether no page may be larger than ``pageBytes``, so that ``residentBytes()`` counts what was
    ///   touched and not what came along with it.
    init(bytes: UInt64, inSmallPages: Bool) throws(KVMError) {
        precondition(bytes > 0 && bytes % Self.pageBytes == 0 && bytes <= Int.max)
        // SAFETY: ckvm_map_memory stores an address only when it returns 0.
        var address: UnsafeMutableRawPointer? = nil
        _ = try KVMError.check(unsafe ckvm_map_memory(bytes, &address), .mapMemory)
        guard let address = unsafe address else { throw .unexpectedReply(.mapMemory) }
        if inSmallPages { unsafe ckvm_avoid_huge_pages(address, bytes) }
        unsafe mapping = Mapping(adopting: address, count: Int(bytes))
        changed = PageSet(pages: Int(bytes / Self.pageBytes))
    }

    /// Bytes that are backed by host memory now, in whole pages: what the guest or the worker has written or read so far, less
    /// what the host has swapped out. Takes about a nanosecond for each page that is there.
    ///
    /// `mincore`.
    public func residentBytes() throws(KVMError) -> UInt64 {
        // SAFETY: the call looks at the page tables of this mapping, never at its bytes.
        let pages = unsafe ckvm_count_resident_pages(mapping.base, bytes)
        guard pages >= 0 else { throw .call(.residentPages, errno: Int32(truncatingIfNeeded: -pages)) }
        return UInt64(pages) * Self.pageBytes
    }

    /// `KVM_SET_USER_MEMORY_REGION`, slot 0.
    ///
    /// - Parameter logsWrites: whether KVM notes which pages the guest writes.
    func install(in machine: Int32, logsWrites: Bool) throws(KVMError) {
        var region = kvm_userspace_memory_region()
        region.memory_size = bytes
        region.flags = logsWrites ? CKVM_MEM_LOG_WRITES : 0
        region.userspace_addr = unsafe UInt64(UInt(bitPattern: mapping.base))
        // SAFETY: the mapping outlives the machine's use of it: VirtualMachine owns both.
        _ = try KVMError.check(
            unsafe ckvm_ioctl(machine, CKVM_SET_USER_MEMORY_REGION, &region), .setUserMemoryRegion)
    }

    /// Whether these bytes lie inside.
    public func contains(_ address: UInt64, count: Int) -> Bool {
        count >= 0 && address <= bytes && UInt64(count) <= bytes - address
    }

    /// Copies bytes in. Returns false, and changes nothing, when they do not fit.
    public func write(_ source: [UInt8], at address: UInt64) -> Bool {
        guard contains(address, count: source.count) else { return false }
        unsafe source.withUnsafeBytes { raw in
            guard let from = raw.baseAddress else { return }
            // SAFETY: the bounds were checked above.
            unsafe (mapping.base + Int(address)).copyMemory(from: from, byteCount: raw.count)
            note(address, count: raw.count)
        }
        return true
    }

    /// Copies bytes out, or nil when they do not all lie inside.
    public func read(at address: UInt64, count: Int) -> [UInt8]? {
        guard contains(address, count: count) else { return nil }
        // SAFETY: the bounds were checked above.
        return unsafe [UInt8](UnsafeRawBufferPointer(start: mapping.base + Int(address), count: count))
    }

    /// One little-endian 64-bit word, or nil when it does not lie inside.
    public func word(at address: UInt64) -> UInt64? {
        guard contains(address, count: 8) else { return nil }
        // SAFETY: the bounds were checked above.
        return unsafe UInt64(littleEndian: (mapping.base + Int(address)).loadUnaligned(as: UInt64.self))
    }

    /// Stores one little-endian 64-bit word. Returns false, and changes nothing, when it does not fit.
    public func setWord(_ value: UInt64, at address: UInt64) -> Bool {
        guard contains(address, count: 8) else { return false }
        // SAFETY: the bounds were checked above.
        unsafe (mapping.base + Int(address)).storeBytes(of: value.littleEndian, as: UInt64.self)
        note(address, count: 8)
        return true
    }

    /// Notes a store of at least one byte, inside.
    func note(_ address: UInt64, count: Int) {
        let last = (Int(address) + count - 1) / Int(Self.pageBytes)
        changed.insert(Int(address / Self.pageBytes)..<last + 1)
    }

    /// One byte; outside memory all ones, as a bus without a device answers.
    public func byte(at address: UInt64) -> UInt8 {
        guard address < bytes else { return 0xFF }
        // SAFETY: the bounds were checked above.
        return unsafe mapping.base.load(fromByteOffset: Int(address), as: UInt8.self)
    }
}
