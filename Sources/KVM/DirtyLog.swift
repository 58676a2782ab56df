// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

extension VirtualMachine {
    /// The pages that the guest has written since the last call, or since the machine was made: their numbers, rising.
    ///
    /// Only of a machine that was made with `logsWrites`. What the worker itself writes through ``GuestMemory`` is not seen.
    ///
    /// `KVM_GET_DIRTY_LOG`, slot 0.
    public borrowing func takeWrittenPages() throws(KVMError) -> [UInt64] {
        let pages = memory.bytes / GuestMemory.pageBytes
        var bitmap = [UInt64](repeating: 0, count: Int((pages + 63) / 64))
        let result = unsafe bitmap.withUnsafeMutableBytes { raw -> Int32 in
            // SAFETY: the kernel writes one bit for each page, rounded up to whole words of 64.
            var request = unsafe kvm_dirty_log()
            unsafe request.dirty_bitmap = raw.baseAddress
            return unsafe ckvm_ioctl(descriptor.number, CKVM_GET_DIRTY_LOG, &request)
        }
        _ = try KVMError.check(result, .getDirtyLog)
        return Self.setBits(bitmap)
    }

    private static func setBits(_ bitmap: [UInt64]) -> [UInt64] {
        var numbers: [UInt64] = []
        for (index, word) in bitmap.enumerated() where word != 0 {
            var rest = word
            while rest != 0 {
                numbers.append(UInt64(index) * 64 + UInt64(rest.trailingZeroBitCount))
                rest &= rest - 1
            }
        }
        return numbers
    }
}

/// A second copy of guest memory, as it was at one instant.
///
/// Takes host memory for the pages that it holds only.
public struct MemoryShadow: ~Copyable {
    private let mapping: Mapping

    /// Copies the pages of guest memory that host memory backs; all others are zero.
    public init(of memory: borrowing GuestMemory) throws(KVMError) {
        let resident = try memory.residentPages()
        // SAFETY: ckvm_map_memory stores an address only when it returns 0.
        var address: UnsafeMutableRawPointer? = nil
        _ = try KVMError.check(unsafe ckvm_map_memory(memory.bytes, &address), .mapMemory)
        guard let address = unsafe address else { throw .unexpectedReply(.mapMemory) }
        unsafe mapping = Mapping(adopting: address, count: Int(memory.bytes))
        keep(resident, of: memory)
    }

    /// Takes over what these pages hold now.
    public borrowing func keep(_ pages: [UInt64], of memory: borrowing GuestMemory) {
        for page in pages { unsafe copyPage(page, from: memory.base, to: mapping.base, memory) }
    }

    /// Puts back what these pages held.
    public borrowing func restore(_ pages: [UInt64], in memory: borrowing GuestMemory) {
        for page in pages { unsafe copyPage(page, from: mapping.base, to: memory.base, memory) }
    }

    private borrowing func copyPage(
        _ page: UInt64, from source: UnsafeMutableRawPointer, to target: UnsafeMutableRawPointer,
        _ memory: borrowing GuestMemory
    ) {
        let offset = page.multipliedReportingOverflow(by: GuestMemory.pageBytes)
        guard !offset.overflow, memory.contains(offset.partialValue, count: Int(GuestMemory.pageBytes)) else { return }
        // SAFETY: both mappings have as many bytes as guest memory, and the bounds were checked above.
        unsafe (target + Int(offset.partialValue)).copyMemory(
            from: source + Int(offset.partialValue), byteCount: Int(GuestMemory.pageBytes))
    }
}

extension GuestMemory {
    /// A page's bytes as little-endian words; none for a page that is not inside.
    public borrowing func words(of page: UInt64) -> [UInt64] {
        let offset = page.multipliedReportingOverflow(by: Self.pageBytes)
        guard !offset.overflow, contains(offset.partialValue, count: Int(Self.pageBytes)) else { return [] }
        return unsafe [UInt64](unsafeUninitializedCapacity: Int(Self.pageBytes) / 8) { buffer, count in
            // SAFETY: the bounds were checked above, and the buffer has a page's bytes.
            unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(
                from: UnsafeRawBufferPointer(start: base + Int(offset.partialValue), count: Int(Self.pageBytes)))
            count = Int(Self.pageBytes) / 8
        }
    }

    /// The numbers of the pages that host memory backs, rising: all that anybody has touched.
    ///
    /// `mincore`.
    public borrowing func residentPages() throws(KVMError) -> [UInt64] {
        var states = [UInt8](repeating: 0, count: Int(bytes / Self.pageBytes))
        let result = unsafe states.withUnsafeMutableBufferPointer { buffer -> Int32 in
            guard let first = buffer.baseAddress else { return 0 }
            // SAFETY: the kernel writes one byte for each page of the mapping.
            return unsafe ckvm_resident_pages(base, bytes, first)
        }
        _ = try KVMError.check(result, .residentPages)
        return states.indices.filter { states[$0] & 1 != 0 }.map(UInt64.init)
    }
}
