// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

extension GuestMemory {
    /// Memory without a machine, all zeros: for building in it once what many machines shall start from, and keeping that by
    /// ``PristineMemory/init(of:)``.
    ///
    /// - Parameter scratchBytes: a multiple of ``pageBytes``, not zero.
    ///
    /// `mmap`.
    public init(scratchBytes: UInt64) throws(KVMError) {
        // Huge pages: memory in which little is written would still take 2 MiB at a time.
        try self.init(bytes: scratchBytes, inSmallPages: true)
    }

    /// Gives the host memory behind some pages back; they read as zeros from here on, for the guest too, and KVM drops every
    /// mapping of them as ``forgetTranslations(of:)`` says.
    ///
    /// They count as written: a content that has bytes there is copied back at the next ``VirtualMachine/restore(to:)``.
    /// No vCPU of the machine may be running.
    ///
    /// - Parameter range: addresses of whole pages, inside memory.
    /// - Throws: ``KVMError/call(_:errno:)``: the machine cannot be used again.
    ///
    /// `madvise` with `MADV_DONTNEED`.
    public borrowing func giveBack(_ range: Range<UInt64>) throws(KVMError) {
        guard let pages = pageNumbers(range) else { return }
        try giveBack(pages)
        changed.insert(pages)
    }

    /// Makes KVM and the processor forget every translation that ends in one of these pages, so that what the guest's page tables
    /// say now takes effect, where they said something else of these pages before: less rights, another address, or nothing.
    /// What the pages hold stays.
    ///
    /// Wherever KVM keeps the guest's translations it drops those that lead to host memory whose protection changes: that is how
    /// it follows the host's own page tables. Entries of upper levels are not covered: a page table must not be unlinked, or used
    /// for another address, while a guest runs by it. No vCPU of the machine may be running.
    ///
    /// - Parameter range: addresses of whole pages, inside memory.
    /// - Throws: ``KVMError/call(_:errno:)``: the machine cannot be used again, and its memory not be written.
    ///
    /// `mprotect` twice.
    public borrowing func forgetTranslations(of range: Range<UInt64>) throws(KVMError) {
        guard pageNumbers(range) != nil else { return }
        // SAFETY: the bounds were checked, and nobody touches the memory while the call is under way.
        let result = unsafe ckvm_forget_pages(base, bytes, range.lowerBound, UInt64(range.count))
        _ = try KVMError.check(result, .forget)
    }

    /// nil for none. Others than whole pages inside memory are a mistake of the caller's.
    private borrowing func pageNumbers(_ range: Range<UInt64>) -> Range<Int>? {
        guard !range.isEmpty else { return nil }
        precondition(range.upperBound <= bytes)
        precondition(range.lowerBound % Self.pageBytes == 0 && range.upperBound % Self.pageBytes == 0)
        return Int(range.lowerBound / Self.pageBytes)..<Int(range.upperBound / Self.pageBytes)
    }
}
