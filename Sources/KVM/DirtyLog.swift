// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

extension VirtualMachine {
    /// The pages that the guest has written since the last call, or since the machine was made or restored: their numbers, rising.
    ///
    /// Only of a machine that was made with `logsWrites`. What the worker itself writes through ``GuestMemory`` is not seen.
    ///
    /// `KVM_GET_DIRTY_LOG`, slot 0.
    public borrowing func takeWrittenPages() throws(KVMError) -> [UInt64] {
        try readLog()
        // The kernel has forgotten them; whoever restores memory must not.
        memory.changed.formUnion(history.log)
        var numbers: [UInt64] = []
        var next = 0
        while let run = history.log.nextRun(from: next) {
            numbers.append(contentsOf: run.lazy.map(UInt64.init))
            next = run.upperBound
        }
        return numbers
    }

    /// Fills `history.log`. Unless the log is a sticky one, the kernel's is empty afterwards and the pages are write-protected.
    borrowing func readLog() throws(KVMError) {
        // SAFETY: the kernel writes one bit for each page, rounded up to whole words of 64: a PageSet's.
        var request = unsafe kvm_dirty_log()
        unsafe request.dirty_bitmap = UnsafeMutableRawPointer(history.log.words)
        _ = try KVMError.check(unsafe ckvm_ioctl(descriptor.number, CKVM_GET_DIRTY_LOG, &request), .getDirtyLog)
    }

    /// Takes pages out of a sticky log and write-protects them, so that the next write to each is logged again.
    ///
    /// `KVM_CLEAR_DIRTY_LOG`, slot 0.
    borrowing func clearLog(of pages: borrowing PageSet) throws(KVMError) {
        // SAFETY: the kernel reads one bit for each page, rounded up to whole words of 64: a PageSet's.
        var request = unsafe kvm_clear_dirty_log()
        unsafe request.num_pages = UInt32(pages.pages)
        unsafe request.dirty_bitmap = UnsafeMutableRawPointer(pages.words)
        _ = try KVMError.check(unsafe ckvm_ioctl(descriptor.number, CKVM_CLEAR_DIRTY_LOG, &request), .clearDirtyLog)
    }
}

/// A second copy of guest memory, as it was at one instant.
///
/// Takes host memory for the pages that it holds only.
public struct MemoryShadow: ~Copyable {
    private let mapping: Mapping

    /// Copies these pages of guest memory; all others count as zero, so these must be all of ``GuestMemory/occupiedPages()``.
    public init(of memory: borrowing GuestMemory, holding pages: [UInt64]) throws(KVMError) {
        // SAFETY: ckvm_map_memory stores an address only when it returns 0.
        var address: UnsafeMutableRawPointer? = nil
        _ = try KVMError.check(unsafe ckvm_map_memory(memory.bytes, &address), .mapMemory)
        guard let address = unsafe address else { throw .unexpectedReply(.mapMemory) }
        unsafe mapping = Mapping(adopting: address, count: Int(memory.bytes))
        keep(pages, of: memory)
    }

    /// Takes over what these pages hold now.
    public borrowing func keep(_ pages: [UInt64], of memory: borrowing GuestMemory) {
        for page in pages { unsafe copyPage(page, from: memory.base, to: mapping.base, memory) }
    }

    /// Puts back what these pages held.
    public borrowing func restore(_ pages: [UInt64], in memory: borrowing GuestMemory) {
        for page in pages {
            unsafe copyPage(page, from: mapping.base, to: memory.base, memory)
            if page < UInt64(memory.changed.pages) { memory.changed.insert(Int(page)) }
        }
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
}
