// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

/// What a program may do with memory: `PROT_*`.
struct Protection: OptionSet, Sendable, Hashable {
    let rawValue: UInt8

    static let read = Protection(rawValue: 1)
    static let write = Protection(rawValue: 2)
    static let execute = Protection(rawValue: 4)

    /// Whether an access of this kind is allowed. As on x86 whatever may be written or executed may be read too.
    func allows(_ access: MemoryAccess) -> Bool {
        switch access {
        case .read: !isEmpty
        case .write: contains(.write)
        case .execute: contains(.execute)
        }
    }
}

/// What a program, or the worker on its behalf, is about to do with memory.
enum MemoryAccess: Sendable, Hashable {
    case read, write, execute

    /// The access that a page fault's error code tells of.
    init(pageFault code: UInt32) { self = code & 16 != 0 ? .execute : code & 2 != 0 ? .write : .read }
}

/// A file that memory was mapped from; two mappings are of the same one if this is the same object.
final class MappedFile: Sendable {
    let bytes: FileBytes
    /// What `/proc/self/maps` calls it.
    let name: [UInt8]

    init(_ bytes: FileBytes, name: [UInt8] = []) {
        self.bytes = bytes
        // One line for each region, whatever the name.
        self.name = name.map { $0 == UInt8(ascii: "\n") ? UInt8(ascii: "?") : $0 }
    }
}

/// Where a mapping's bytes come from.
enum MappableFile {
    /// A file whose bytes never change; they are copied as they are used.
    case unchanged(FileBytes)
    /// One that is written: what it holds now is copied at once, so that no older state of it has to be kept. Gives some bytes from
    /// an offset inside it on, at most so many; none at its end.
    case written((_ offset: Int, _ limit: Int) -> ArraySlice<UInt8>)
}

/// Addresses in a row with the same rights and the same origin: what Linux calls a virtual memory area. Its ends are multiples of
/// a page, and the end is behind the start.
struct Region: Sendable {
    var start: UInt64
    var end: UInt64
    var protection: Protection
    var content: Content
    var traits: Traits = []

    /// What its pages hold before anything is written to them.
    enum Content: Sendable {
        /// Zeros.
        case anonymous
        /// The bytes of a file from this offset on, a multiple of a page; zeros behind the file's end in its last page.
        case file(MappedFile, offset: UInt64)
    }

    struct Traits: OptionSet, Sendable, Hashable {
        let rawValue: UInt8

        /// Frames are set aside for all of its pages, so that a fault in it always finds one.
        static let charged = Traits(rawValue: 1)
        /// Frames are not to be set aside for it when it is mapped: `MAP_NORESERVE`.
        static let unreserved = Traits(rawValue: 2)
        /// An access below its start makes it larger: `MAP_GROWSDOWN`.
        static let growsDown = Traits(rawValue: 4)
        /// `MAP_SHARED`.
        static let shared = Traits(rawValue: 8)
        /// Moved by `brk`.
        static let heap = Traits(rawValue: 16)
        /// The first thread's stack.
        static let stack = Traits(rawValue: 32)
        /// It cannot be made writable: a shared mapping of a file.
        static let neverWritable = Traits(rawValue: 64)
        /// A thread's: `MAP_STACK`. Most of it is never touched.
        static let threadStack = Traits(rawValue: 128)
    }

    var addresses: Range<UInt64> { start..<end }
    var bytes: UInt64 { end - start }
    var pages: Int { Int(bytes / GuestMemory.pageBytes) }
    var isCharged: Bool { traits.contains(.charged) }

    var file: MappedFile? {
        guard case .file(let file, _) = content else { return nil }
        return file
    }

    /// The part of it that lies in a range, which overlaps it.
    func clipped(to range: Range<UInt64>) -> Region {
        var part = self
        part.start = max(start, range.lowerBound)
        part.end = min(end, range.upperBound)
        part.content = content.advanced(by: part.start - start)
        return part
    }

    /// Whether the next one goes on where this ends, in every respect.
    func continues(into next: Region) -> Bool {
        guard end == next.start, protection == next.protection, traits == next.traits else { return false }
        switch (content.advanced(by: bytes), next.content) {
        case (.anonymous, .anonymous): return true
        case (.file(let one, let offset), .file(let other, let otherOffset)):
            return one === other && offset == otherOffset
        default: return false
        }
    }
}

extension Region.Content {
    /// What is so many bytes further on.
    func advanced(by bytes: UInt64) -> Self {
        guard case .file(let file, let offset) = self else { return self }
        // Offsets are bounded when a file is mapped.
        return .file(file, offset: offset &+ bytes)
    }
}
