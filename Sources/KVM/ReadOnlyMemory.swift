// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// Memory that the guest reads and executes and that ends at 4 GiB. Its writes leave the guest as ``VMExit/mmioWrite(address:size:value:)``.
struct ReadOnlyMemory: ~Copyable, Sendable {
    /// The first address behind it.
    static let end: UInt64 = 1 << 32
    /// The memory slot: ``GuestMemory`` has slot 0.
    private static let slot: UInt32 = 1

    private let mapping: Mapping

    /// - Parameter bytes: whole pages, not zero, and at most 4 GiB.
    init(bytes: UInt64) throws(KVMError) {
        precondition(bytes > 0 && bytes % GuestMemory.pageBytes == 0 && bytes <= Self.end)
        // SAFETY: ckvm_map_memory stores an address only when it returns 0.
        var address: UnsafeMutableRawPointer? = nil
        _ = try KVMError.check(unsafe ckvm_map_memory(bytes, &address), .mapMemory)
        guard let address = unsafe address else { throw .unexpectedReply(.mapMemory) }
        unsafe mapping = Mapping(adopting: address, count: Int(bytes))
    }

    /// `KVM_SET_USER_MEMORY_REGION` with `KVM_MEM_READONLY`.
    func install(in machine: Int32) throws(KVMError) {
        var region = kvm_userspace_memory_region()
        region.slot = Self.slot
        region.flags = CKVM_MEM_READ_ONLY
        region.guest_phys_addr = Self.end - UInt64(mapping.count)
        region.memory_size = UInt64(mapping.count)
        region.userspace_addr = unsafe UInt64(UInt(bitPattern: mapping.base))
        // SAFETY: the mapping outlives the machine's use of it: VirtualMachine owns both.
        _ = try KVMError.check(
            unsafe ckvm_ioctl(machine, CKVM_SET_USER_MEMORY_REGION, &region), .setUserMemoryRegion)
    }

    /// Makes it hold these bytes. Returns false, and changes nothing, unless they are just as many.
    func fill(_ bytes: [UInt8]) -> Bool {
        guard bytes.count == mapping.count else { return false }
        unsafe bytes.withUnsafeBytes { raw in
            guard let source = raw.baseAddress else { return }
            // SAFETY: the mapping has as many bytes.
            unsafe mapping.base.copyMemory(from: source, byteCount: raw.count)
        }
        return true
    }
}

extension VirtualMachine {
    /// Makes the ROM hold these bytes. Returns false, and changes nothing, unless it has just as many.
    public borrowing func fillROM(_ bytes: [UInt8]) -> Bool {
        guard rom != nil else { return bytes.isEmpty }
        return rom?.fill(bytes) ?? false
    }
}
