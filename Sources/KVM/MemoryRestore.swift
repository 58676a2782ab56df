// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

/// What is known of a machine's memory: which content it was last brought to, and which pages may differ from that.
///
/// SAFETY: @unchecked because it changes through any reference, as the memory does that it is about: one thread at a time has the
/// machine.
final class MemoryHistory: @unchecked Sendable {
    let policy: RestorePolicy
    /// Whether KVM logs the guest's writes.
    let logs: Bool
    /// What memory was last brought to; nil while it is what the host gave: zeros.
    var pristine: PristineMemory?
    /// What the kernel last told.
    let log: PageSet
    /// Pages that may hold something else than they should. Scratch, as `spare` is.
    let stale: PageSet
    let spare: PageSet
    /// Pages that may have host memory of their own.
    let backed: PageSet
    /// Restores since the machine was made.
    var restores = 0
    /// Copies of pages that had not been written, since pages were last protected.
    var vainCopies = 0
    /// What a test leaves out, to see that it is missed.
    var omitted: Omissions = []

    /// Each is one reason why a page may have changed.
    struct Omissions: OptionSet {
        let rawValue: Int
        static let guestWrites = Omissions(rawValue: 1)
        static let workerWrites = Omissions(rawValue: 2)
        static let otherContent = Omissions(rawValue: 4)
        static let forgottenContent = Omissions(rawValue: 8)
    }

    /// With a sticky log one restore in so many compares before it copies, and tells how many copies are in vain. Comparing costs
    /// about as much as copying, so this adds a sixteenth.
    static let comparingInterval = 16

    init(_ policy: RestorePolicy, pages: Int, logs: Bool) {
        (self.policy, self.logs) = (policy, logs)
        log = PageSet(pages: pages)
        stale = PageSet(pages: pages)
        spare = PageSet(pages: pages)
        backed = PageSet(pages: pages)
    }
}

extension VirtualMachine {
    /// Brings memory from whatever is in it to this content, touching only what may differ as far as the machine's policy knows.
    ///
    /// No vCPU may be running. Costs are in proportion to what was written since the last time if that was the same object; to a
    /// new one, to both contents' pages besides.
    ///
    /// - Throws: ``KVMError/call(_:errno:)``: the machine cannot be used again.
    ///
    /// `KVM_GET_DIRTY_LOG`, `KVM_CLEAR_DIRTY_LOG`, `madvise`; which of them is for the policy to say.
    public borrowing func restore(to content: PristineMemory) throws(KVMError) {
        precondition(memory.bytes == content.bytes)
        try findStalePages(for: content)
        history.restores += 1
        if case .stickyLog(let patience) = history.policy, history.restores % MemoryHistory.comparingInterval == 0 {
            copyDifferentPages(of: content)
            try protectIdlePages(patience)
        } else {
            copyStalePages(of: content)
        }
        memory.changed.removeAll()
        history.backed.formUnion(history.stale)
        history.pristine = content
    }

    private borrowing func findStalePages(for content: PristineMemory) throws(KVMError) {
        history.stale.removeAll()
        switch history.policy {
        case .giveBack:
            try giveBackAll()
            // What it has logged is of no use to anybody now.
            if history.logs { try readLog() }
        case .wholeCopy: history.stale.insert(0..<memory.changed.pages)
        case .stickyLog, .clearingLog:
            try readLog()
            if !history.omitted.contains(.guestWrites) { history.stale.formUnion(history.log) }
        }
        if !history.omitted.contains(.workerWrites) { history.stale.formUnion(memory.changed) }
        guard history.pristine !== content else { return }
        if !history.omitted.contains(.otherContent) {
            for stretch in history.pristine?.stretches ?? [] { history.stale.insert(stretch.pages) }
        }
        for stretch in content.stretches { history.stale.insert(stretch.pages) }
    }

    private borrowing func copyStalePages(of content: PristineMemory) {
        var next = 0
        while let run = history.stale.nextRun(from: next) {
            memory.fill(run, with: content)
            next = run.upperBound
        }
    }

    // MARK: A sticky log's idle pages

    /// Copies only where that changes something. Leaves in `spare` the logged pages that nobody had written.
    private borrowing func copyDifferentPages(of content: PristineMemory) {
        history.spare.removeAll()
        var next = 0
        while let run = history.stale.nextRun(from: next) {
            memory.fill(run, with: content, ifDifferent: history.spare)
            next = run.upperBound
        }
        // A page that is not in the log cannot be taken out of it.
        history.stale.subtract(history.log)
        history.spare.subtract(history.stale)
        history.stale.formUnion(history.log)
    }

    /// Takes the pages that `spare` has out of the log once copying such pages has cost what protecting them would: whatever the
    /// jobs do, both together cost at most about twice what the better of them would have.
    private borrowing func protectIdlePages(_ patience: Int) throws(KVMError) {
        let idle = history.spare.count
        history.vainCopies += idle * MemoryHistory.comparingInterval
        guard idle > 0, history.vainCopies / idle >= patience else { return }
        try clearLog(of: history.spare)
        history.vainCopies = 0
    }

    /// Write-protects every page that the guest has written, so that its next write to each costs what the first one did: for
    /// measuring that. Only with a policy that keeps a log, and right after ``restore(to:)``.
    public borrowing func protectWrittenPages() throws(KVMError) {
        precondition(history.policy.needsLog)
        try readLog()
        if history.policy.isSticky { try clearLog(of: history.log) }
    }
}

extension GuestMemory {
    /// Makes these pages hold what they should.
    borrowing func fill(_ pages: Range<Int>, with content: PristineMemory) {
        unsafe content.forEachPart(of: pages) { part, bytes in
            unsafe store(part, bytes)
        }
    }

    /// The same, storing only where there is a difference; notes in `equal` the pages without one.
    borrowing func fill(_ pages: Range<Int>, with content: PristineMemory, ifDifferent equal: borrowing PageSet) {
        let pageBytes = Int(Self.pageBytes)
        unsafe content.forEachPart(of: pages) { part, bytes in
            for page in part {
                let source = unsafe bytes.map { unsafe $0 + (page - part.lowerBound) * pageBytes }
                if unsafe holds(page, source) {
                    equal.insert(page)
                } else {
                    unsafe store(page..<page + 1, source)
                }
            }
        }
    }

    private borrowing func store(_ pages: Range<Int>, _ bytes: UnsafeRawPointer?) {
        precondition(pages.lowerBound >= 0 && pages.upperBound <= changed.pages)
        let count = pages.count * Int(Self.pageBytes)
        // SAFETY: the bounds were checked above, and what comes from a PristineMemory has as many bytes as pages.
        let target = unsafe base + pages.lowerBound * Int(Self.pageBytes)
        if let bytes = unsafe bytes {
            unsafe target.copyMemory(from: bytes, byteCount: count)
        } else {
            unsafe ckvm_zero(target, UInt64(count))
        }
    }

    private borrowing func holds(_ page: Int, _ bytes: UnsafeRawPointer?) -> Bool {
        precondition(page >= 0 && page < changed.pages)
        // SAFETY: as in `store`.
        let address = unsafe base + page * Int(Self.pageBytes)
        guard let bytes = unsafe bytes else { return unsafe ckvm_is_zero(address, Self.pageBytes) != 0 }
        return unsafe ckvm_is_equal(address, bytes, Self.pageBytes) != 0
    }

    /// Gives these pages' host memory back; they read as zeros from here on.
    ///
    /// `madvise` with `MADV_DONTNEED`.
    borrowing func giveBack(_ pages: Range<Int>) throws(KVMError) {
        precondition(pages.lowerBound >= 0 && pages.upperBound <= changed.pages)
        // SAFETY: the bounds were checked above.
        let address = unsafe base + pages.lowerBound * Int(Self.pageBytes)
        _ = try KVMError.check(unsafe ckvm_give_back(address, UInt64(pages.count) * Self.pageBytes), .giveBack)
    }
}
