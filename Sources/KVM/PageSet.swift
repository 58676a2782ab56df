// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Some of a guest's pages, by number: a bit for each, laid out as KVM's dirty log is.
///
/// Changes through any reference, as the memory does that it is about: whoever has the machine has both.
///
/// SAFETY: `words` is valid for `wordCount` words from `init` to `deinit`, and the value cannot be copied. It is Sendable for the
/// reason that ``Mapping`` is: one thread at a time has the machine.
@safe struct PageSet: ~Copyable, @unchecked Sendable {
    /// Pages that there are.
    let pages: Int
    /// Rounded up to whole words, which is what the kernel reads and writes. Bits behind the last page are 0.
    let words: UnsafeMutablePointer<UInt64>
    private let wordCount: Int

    /// No page of so many.
    init(pages: Int) {
        precondition(pages > 0)
        self.pages = pages
        wordCount = (pages + 63) / 64
        // SAFETY: freed in deinit.
        unsafe words = UnsafeMutablePointer<UInt64>.allocate(capacity: wordCount)
        unsafe words.initialize(repeating: 0, count: wordCount)
    }

    deinit {
        // SAFETY: this is the only owner.
        unsafe words.deallocate()
    }

    // MARK: One page

    func contains(_ page: Int) -> Bool {
        precondition(page >= 0 && page < pages)
        // SAFETY: the bounds were checked above.
        return unsafe words[page / 64] & 1 << UInt64(page % 64) != 0
    }

    func insert(_ page: Int) {
        precondition(page >= 0 && page < pages)
        // SAFETY: the bounds were checked above.
        unsafe words[page / 64] |= 1 << UInt64(page % 64)
    }

    // MARK: Many

    func insert(_ range: Range<Int>) {
        guard let last = range.last else { return }
        precondition(range.lowerBound >= 0 && last < pages)
        for index in (range.lowerBound / 64)...(last / 64) {
            let low = UInt64(max(range.lowerBound - index * 64, 0))
            let high = UInt64(min(last - index * 64, 63))
            // SAFETY: the bounds were checked above.
            unsafe words[index] |= (.max << low) & (.max >> (63 - high))
        }
    }

    func removeAll() {
        // SAFETY: see `words`.
        unsafe words.update(repeating: 0, count: wordCount)
    }

    func formUnion(_ other: borrowing PageSet) {
        precondition(pages == other.pages)
        // SAFETY: both have as many words.
        for index in 0..<wordCount { unsafe words[index] |= other.words[index] }
    }

    func subtract(_ other: borrowing PageSet) {
        precondition(pages == other.pages)
        // SAFETY: both have as many words.
        for index in 0..<wordCount { unsafe words[index] &= ~other.words[index] }
    }

    /// How many pages are in it.
    var count: Int {
        var count = 0
        // SAFETY: see `words`.
        for index in 0..<wordCount { unsafe count += words[index].nonzeroBitCount }
        return count
    }

    /// The first pages in a row, from this one on, that are in it.
    func nextRun(from page: Int) -> Range<Int>? {
        let start = next(from: page, flipping: 0)
        guard start < pages else { return nil }
        return start..<next(from: start, flipping: .max)
    }

    /// The first pages in a row, from this one on, that are not in it.
    func nextGap(from page: Int) -> Range<Int>? {
        let start = next(from: page, flipping: .max)
        guard start < pages else { return nil }
        return start..<next(from: start, flipping: 0)
    }

    /// The first page whose bit, once flipped or not, is 1; `pages` if there is none.
    private func next(from page: Int, flipping: UInt64) -> Int {
        var index = page / 64
        var mask = UInt64.max << UInt64(page % 64)
        while index < wordCount {
            // SAFETY: the index is below the count.
            let word = unsafe (words[index] ^ flipping) & mask
            if word != 0 { return min(index * 64 + word.trailingZeroBitCount, pages) }
            (index, mask) = (index + 1, .max)
        }
        return pages
    }
}
