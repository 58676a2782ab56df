// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

extension VirtualMachine {
    /// Gives host memory back until at most so many bytes of the guest's are resident. For a machine without a job: what the last
    /// one left in the pages that go is lost, and the next ``restore(to:)`` makes good what it needs.
    ///
    /// Pages of the content that it was last restored to stay before others, and low ones before high ones. What goes leaves the
    /// log too, so that no restore brings it back before it is written again. Does nothing if there is no more than that, which
    /// takes about a nanosecond for each page to see; otherwise a call for each gap between the pages that stay.
    ///
    /// A content that holds more than that in host memory is forgotten as well: its pages that stay are, from here on, pages that a
    /// job may have written, so that nothing keeps it alive for this machine's sake.
    ///
    /// - Throws: ``KVMError/call(_:errno:)``: the machine cannot be used again.
    ///
    /// `mincore`, `madvise`, `KVM_CLEAR_DIRTY_LOG`.
    public borrowing func trim(toBytes limit: UInt64) throws(KVMError) {
        guard try memory.residentBytes() > limit else { return forgetContent(ifOver: limit) }
        if history.policy.needsLog { try readLog() }
        choosePagesToKeep(Int(min(limit, memory.bytes) / GuestMemory.pageBytes))
        try giveBackOthers()
        // In a clearing log nothing is left of what was read.
        if history.policy == .clearingLog { memory.changed.formUnion(history.log) }
        memory.changed.subtract(history.spare)
        history.backed.subtract(history.spare)
        // Their host pages are gone and with them KVM's mappings: protecting these costs the guest no fault that it would not have
        // had. Left in the log, they would be zeroed and so taken again at every restore; and a write behind this call could not be
        // told from one before it.
        if history.policy.isSticky { try clearLog(of: history.spare) }
        forgetContent(ifOver: limit, without: history.spare)
    }

    private borrowing func forgetContent(ifOver limit: UInt64) {
        history.spare.removeAll()
        forgetContent(ifOver: limit, without: history.spare)
    }

    /// A content that is not over the limit has lost no page, for its pages stay before others.
    ///
    /// - Parameter zeros: pages that have been given back, and are what memory without a content is.
    private borrowing func forgetContent(ifOver limit: UInt64, without zeros: borrowing PageSet) {
        guard let content = history.pristine, content.storedBytes > limit else { return }
        if !history.omitted.contains(.forgottenContent) {
            for stretch in content.stretches { memory.changed.insert(stretch.pages) }
        }
        memory.changed.subtract(zeros)
        history.pristine = nil
    }

    /// The same, but only if more than `most` bytes may be resident by what is known without looking at page tables: that takes
    /// microseconds, however large the guest.
    public borrowing func trim(toBytes limit: UInt64, ifOver most: UInt64) throws(KVMError) {
        guard memory.bytes > most else { return }
        if history.policy.needsLog {
            try readLog()
            if history.policy == .clearingLog { memory.changed.formUnion(history.log) }
            history.backed.formUnion(history.log)
            history.backed.formUnion(memory.changed)
            guard UInt64(history.backed.count) * GuestMemory.pageBytes > most else { return }
        } else {
            guard try memory.residentBytes() > most else { return }
        }
        try trim(toBytes: limit)
    }

    /// Gives all memory back; it is zeros from here on.
    borrowing func giveBackAll() throws(KVMError) {
        try memory.giveBack(0..<memory.changed.pages)
        memory.changed.removeAll()
        history.backed.removeAll()
        history.pristine = nil
    }

    /// Leaves in `stale` at most so many pages: the content's, then those that jobs write.
    private borrowing func choosePagesToKeep(_ count: Int) {
        history.stale.removeAll()
        var room = count
        for stretch in history.pristine?.stretches ?? [] { keep(stretch.pages, &room) }
        history.log.formUnion(memory.changed)
        var next = 0
        while room > 0, let run = history.log.nextRun(from: next) {
            keep(run, &room)
            next = run.upperBound
        }
    }

    private borrowing func keep(_ pages: Range<Int>, _ room: inout Int) {
        for page in pages where room > 0 && !history.stale.contains(page) {
            history.stale.insert(page)
            room -= 1
        }
    }

    /// Gives back what `stale` does not have, and leaves in `spare` which pages that were.
    private borrowing func giveBackOthers() throws(KVMError) {
        history.spare.removeAll()
        var next = 0
        while let gap = history.stale.nextGap(from: next) {
            try memory.giveBack(gap)
            history.spare.insert(gap)
            next = gap.upperBound
        }
    }
}
