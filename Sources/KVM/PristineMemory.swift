// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import NIOConcurrencyHelpers

/// What guest memory holds when a job starts: some pages of bytes, zeros everywhere else.
///
/// Never changes; any number of machines can be brought to it, at the same time. A machine that is brought to the same object
/// again copies only what has changed since, so an image that many jobs share is best made one object.
public final class PristineMemory: Sendable {
    /// Bytes of guest memory.
    public let bytes: UInt64
    /// The pages that have bytes, rising, none twice.
    let stretches: [Stretch]
    // SAFETY: nobody else has the object when `deinit` changes it, and nothing before does.
    private nonisolated(unsafe) var sources: [[UInt8]]

    /// From so many bytes on, host memory is given back by another thread than the one that lets go of it last: 1 MiB. That may be
    /// an event loop, and each MiB takes tens of microseconds.
    static let lateBytes: UInt64 = 1 << 20
    private static let undertaker = DispatchQueue(label: "kvmjob.pristine-memory")

    /// Pages in a row whose bytes lie in a row.
    struct Stretch: Sendable, Hashable {
        var pages: Range<Int>
        /// The array that has the bytes, and where in it they begin.
        var source: Int
        var offset: Int
    }

    /// Pages that a piece covers as a whole are not copied: they stay in the piece's own array.
    ///
    /// - Parameters:
    ///   - bytes: a multiple of ``GuestMemory/pageBytes``, not zero.
    ///   - pieces: bytes at guest physical addresses, inside memory and without overlap.
    public init(bytes: UInt64, pieces: [(address: UInt64, bytes: [UInt8])]) {
        precondition(bytes > 0 && bytes % GuestMemory.pageBytes == 0)
        var builder = PristineBuilder()
        for piece in pieces {
            precondition(piece.address <= bytes && UInt64(piece.bytes.count) <= bytes - piece.address)
            builder.add(piece.bytes, at: Int(piece.address))
        }
        self.bytes = bytes
        unsafe (stretches, sources) = builder.finish()
        storedBytes = unsafe Self.count(sources)
    }

    /// What this memory holds now; no vCPU of its machine may be running. Copies the pages that are not all zeros.
    public init(of memory: borrowing GuestMemory) {
        let pages = memory.occupiedPages().map(Int.init)
        let pageBytes = PristineBuilder.pageBytes
        let content = unsafe [UInt8](unsafeUninitializedCapacity: pages.count * pageBytes) { buffer, count in
            for (index, page) in pages.enumerated() {
                // SAFETY: the page lies inside memory, and the buffer has room for all of them.
                let source = unsafe UnsafeRawBufferPointer(start: memory.base + page * pageBytes, count: pageBytes)
                let target = UnsafeMutableRawBufferPointer(buffer)
                unsafe UnsafeMutableRawBufferPointer(rebasing: target[(index * pageBytes)...])
                    .copyMemory(from: source)
            }
            count = pages.count * pageBytes
        }
        bytes = memory.bytes
        stretches = PristineBuilder.stretches(of: pages, in: 0)
        unsafe sources = [content]
        storedBytes = unsafe Self.count(sources)
    }

    private static func count(_ sources: [[UInt8]]) -> UInt64 { sources.reduce(0) { $0 + UInt64($1.count) } }

    deinit {
        guard storedBytes >= Self.lateBytes else { return }
        // SAFETY: see `sources`. The box's content is the only reference that is left, and goes on the queue.
        let box = unsafe NIOLockedValueBox(sources)
        unsafe sources = []
        Self.undertaker.async { box.withLockedValue { $0 = [] } }
    }

    /// Bytes of host memory that this holds, what it shares with the arrays that it was made from included.
    public let storedBytes: UInt64

    /// Takes some pages in a row apart by where their bytes come from, and calls `body` for each part: with the address of the
    /// first page's bytes, or nil where all are zeros.
    func forEachPart(of pages: Range<Int>, _ body: (_ pages: Range<Int>, _ bytes: UnsafeRawPointer?) -> Void) {
        var page = pages.lowerBound
        var index = firstStretch(endingBehind: page)
        while page < pages.upperBound {
            guard index < stretches.count, stretches[index].pages.lowerBound < pages.upperBound else {
                return body(page..<pages.upperBound, nil)
            }
            let stretch = stretches[index]
            if page < stretch.pages.lowerBound {
                body(page..<stretch.pages.lowerBound, nil)
                page = stretch.pages.lowerBound
            }
            let end = min(stretch.pages.upperBound, pages.upperBound)
            let offset = stretch.offset + (page - stretch.pages.lowerBound) * PristineBuilder.pageBytes
            unsafe sources[stretch.source].withUnsafeBytes { raw in
                // SAFETY: the builder made no stretch longer than its source; an empty source has none.
                unsafe body(page..<end, raw.baseAddress.map { unsafe $0 + offset })
            }
            (page, index) = (end, index + 1)
        }
    }

    private func firstStretch(endingBehind page: Int) -> Int {
        var (low, high) = (0, stretches.count)
        while low < high {
            let middle = (low + high) / 2
            if stretches[middle].pages.upperBound <= page { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// Sorts pieces into pages: those that a piece covers as a whole, and those made up of parts and zeros.
private struct PristineBuilder {
    static let pageBytes = Int(GuestMemory.pageBytes)

    private var sources: [[UInt8]] = []
    private var stretches: [PristineMemory.Stretch] = []
    /// What pieces cover of pages that they cover in part.
    private var parts: [Part] = []

    private struct Part {
        var page: Int
        /// Where in the page they begin.
        var start: Int
        var bytes: ArraySlice<UInt8>
    }

    mutating func add(_ bytes: [UInt8], at address: Int) {
        let end = address + bytes.count
        let (first, behind) = ((address + Self.pageBytes - 1) / Self.pageBytes, end / Self.pageBytes)
        guard first < behind else { return addParts(of: bytes, at: address, from: address, to: end) }
        let whole = first..<behind
        addParts(of: bytes, at: address, from: address, to: whole.lowerBound * Self.pageBytes)
        let offset = whole.lowerBound * Self.pageBytes - address
        stretches.append(.init(pages: whole, source: sources.count, offset: offset))
        sources.append(bytes)
        addParts(of: bytes, at: address, from: whole.upperBound * Self.pageBytes, to: end)
    }

    private mutating func addParts(of bytes: [UInt8], at address: Int, from start: Int, to end: Int) {
        var next = start
        while next < end {
            let page = next / Self.pageBytes
            let stop = min(end, (page + 1) * Self.pageBytes)
            let part = bytes[(next - address)..<(stop - address)]
            parts.append(Part(page: page, start: next % Self.pageBytes, bytes: part))
            next = stop
        }
    }

    /// The stretches in their order, and what they point into.
    func finish() -> (stretches: [PristineMemory.Stretch], sources: [[UInt8]]) {
        let (pages, mixed) = mixedPages()
        let all = stretches + Self.stretches(of: pages, in: sources.count)
        let sorted = all.sorted { $0.pages.lowerBound < $1.pages.lowerBound }
        for (before, after) in zip(sorted, sorted.dropFirst()) {
            precondition(before.pages.upperBound <= after.pages.lowerBound, "two pieces of an image overlap")
        }
        return (sorted, sources + [mixed])
    }

    /// The pages that have parts, rising, and what they hold: made in one array, since pages may be many.
    private func mixedPages() -> (pages: [Int], bytes: [UInt8]) {
        var pages: [Int] = []
        let sorted = parts.sorted { $0.page < $1.page }
        for part in sorted where part.page != pages.last { pages.append(part.page) }
        var mixed = [UInt8](repeating: 0, count: pages.count * Self.pageBytes)
        var index = 0
        for part in sorted {
            if pages[index] != part.page { index += 1 }
            let start = index * Self.pageBytes + part.start
            mixed.replaceSubrange(start..<start + part.bytes.count, with: part.bytes)
        }
        return (pages, mixed)
    }

    /// Pages, rising, whose bytes follow each other in one array.
    static func stretches(of pages: [Int], in source: Int) -> [PristineMemory.Stretch] {
        var stretches: [PristineMemory.Stretch] = []
        for (index, page) in pages.enumerated() {
            if let last = stretches.last, last.pages.upperBound == page {
                stretches[stretches.count - 1].pages = last.pages.lowerBound..<page + 1
            } else {
                stretches.append(.init(pages: page..<page + 1, source: source, offset: index * pageBytes))
            }
        }
        return stretches
    }
}
