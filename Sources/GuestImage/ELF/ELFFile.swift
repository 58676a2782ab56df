// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A program or shared object for x86-64, as its program headers describe it.
///
/// Read from bytes that anybody may have made: every number in it has been checked, the work is bounded by
/// ``programHeaderLimit``, and no byte of the file is copied but the interpreter's path. Nothing in it is an operating system's;
/// what a loader cannot do with a file that is well formed is the loader's to refuse.
public struct ELFFile: Sendable, Hashable {
    /// How a file is linked.
    public enum Linkage: Sendable, Hashable, CaseIterable {
        /// At its own addresses, and complete.
        case fixed
        /// At any address, and complete as it is: a static PIE, a shared library, an interpreter.
        case relocatable
        /// Loaded together with the interpreter that it names.
        case interpreted
    }

    /// Bytes that belong in memory, and the zeros behind them.
    public struct Segment: Sendable, Hashable {
        /// What the program may do there.
        public struct Rights: OptionSet, Sendable, Hashable {
            /// The bits of `p_flags`.
            public let rawValue: UInt32
            /// `PF_X`.
            public static let execute = Rights(rawValue: 1)
            /// `PF_W`.
            public static let write = Rights(rawValue: 2)
            /// `PF_R`.
            public static let read = Rights(rawValue: 4)
            // swift-format-ignore: AllPublicDeclarationsHaveDocumentation
            public init(rawValue: UInt32) { self.rawValue = rawValue }
        }

        /// The first address, before any bias. With ``memoryBytes`` it stays within 64 bits.
        public let address: UInt64
        /// How many bytes it has in memory; never 0.
        public let memoryBytes: UInt64
        /// Where its bytes begin in the file.
        public let fileOffset: UInt64
        /// How many of them are in the file, all of which it has; the others are zeros. At most ``memoryBytes``.
        public let fileBytes: UInt64
        /// What the program may do there.
        public let rights: Rights
        /// A power of two of which the bias is a multiple.
        public let alignment: UInt64

        /// The address behind the last one.
        public var end: UInt64 { address + memoryBytes }

        /// Whether pages of the file can be pages of memory: address and file offset are the same within a page of 4 KiB.
        public var isMappable: Bool { (address ^ fileOffset) & 0xFFF == 0 }

        /// Where in the file the byte of an address is; nil outside the segment and in its zeros.
        func offset(of address: UInt64) -> UInt64? {
            guard address >= self.address, address - self.address < fileBytes else { return nil }
            return fileOffset + (address - self.address)
        }
    }

    /// Whether the file can be loaded at any address (`ET_DYN`).
    public let isPositionIndependent: Bool
    /// The address of the first instruction, before any bias. It may lie in no segment; a library's is usually 0.
    public let entry: UInt64
    /// Never empty, sorted by address, none over another, all below the limit that the reader was given.
    public let segments: [Segment]
    /// The path of the interpreter that the file asks for, as it stands in `PT_INTERP` without the NUL; never empty.
    public let interpreter: [UInt8]?
    /// How many program headers there are.
    public let programHeaderCount: Int
    /// Where the program headers are in memory, before any bias; nil if no segment has them.
    public let programHeadersAddress: UInt64?
    /// Whether `PT_GNU_STACK` asks for a stack with code on it; a file that does not say wants none.
    public let wantsExecutableStack: Bool
    /// Where in the file the dynamic section is.
    let dynamicSection: Range<UInt64>?

    /// The most program headers: 1170, which is 64 KiB of them and as many as Linux takes.
    public static let programHeaderLimit = 1170
    /// Bytes of a program header: 56.
    public static let programHeaderBytes = 56
    /// The most bytes of an interpreter's path, without the NUL: 4095.
    public static let interpreterLimit = 4095
    /// Where the lower half of 47-bit addresses ends, less a page: 0x7FFF_FFFF_F000.
    public static let lowerHalfEnd: UInt64 = 0x7FFF_FFFF_F000

    /// How the file is linked.
    public var linkage: Linkage {
        if interpreter != nil { return .interpreted }
        return isPositionIndependent ? .relocatable : .fixed
    }

    /// The greatest alignment of all segments, of which a bias has to be a multiple.
    public var alignment: UInt64 { segments.reduce(1) { max($0, $1.alignment) } }

    /// Where in the file the byte of an address is; nil for one whose byte is not in the file.
    public func offset(of address: UInt64) -> UInt64? {
        for segment in segments { if let offset = segment.offset(of: address) { return offset } }
        return nil
    }

    /// Reads a file.
    ///
    /// - Parameter addressLimit: the first address that no segment may reach.
    public init(_ bytes: [UInt8], addressLimit: UInt64 = lowerHalfEnd) throws(ELFError) {
        try self.init(bytes[...], addressLimit: addressLimit)
    }

    /// Reads a file that is a part of an array, such as an archive; offsets are from the part's start.
    ///
    /// - Parameter addressLimit: the first address that no segment may reach.
    public init(_ bytes: ArraySlice<UInt8>, addressLimit: UInt64 = lowerHalfEnd) throws(ELFError) {
        let bytes = ImageBytes(bytes)
        let header = try ELFHeader(bytes)
        guard header.entry < addressLimit else {
            throw ELFError(
                .addressRange, "e_entry", header.entry, at: ELFClass.entryOffset,
                "the entry point \(header.entry.hexadecimal) must be below \(addressLimit.hexadecimal)")
        }
        let headers = header.programHeaders(in: bytes)
        let segments = try Self.segments(headers, bytes, addressLimit: addressLimit)
        isPositionIndependent = header.isPositionIndependent
        entry = header.entry
        self.segments = segments
        interpreter = try headers.first { $0.type == .interpreter }.map { header throws(ELFError) in
            try Self.path(header, bytes)
        }
        programHeaderCount = headers.count
        programHeadersAddress = Self.address(of: header, segments) ?? headers.first { $0.type == .headers }?.address
        wantsExecutableStack = headers.contains {
            $0.type == .stack && Segment.Rights(rawValue: $0.flags).contains(.execute)
        }
        dynamicSection = try headers.first { $0.type == .dynamic }.map { header throws(ELFError) in
            try bytes.check(header.fileBytes, at: header.offset, by: ("p_offset", "p_filesz"), "the dynamic section")
            return header.offset..<header.offset + header.fileBytes
        }
    }

    // MARK: Parts

    private static func segments(
        _ headers: [ELFProgramHeader], _ bytes: ImageBytes, addressLimit: UInt64
    ) throws(ELFError) -> [Segment] {
        var segments: [Segment] = []
        for header in headers where header.belongsInMemory {
            segments.append(try header.segment(in: bytes, addressLimit: addressLimit))
        }
        guard !segments.isEmpty else {
            throw ELFError(
                .noSegments, "p_type", at: ELFClass.bits64.tableOffset,
                "none of the program headers is PT_LOAD with bytes for memory")
        }
        segments.sort { $0.address < $1.address }
        for (before, after) in zip(segments, segments.dropFirst()) where before.end > after.address {
            throw ELFError(
                .segmentOverlap, "p_vaddr", after.address, at: after.fileOffset,
                "the segment at \(before.address.hexadecimal) ends at \(before.end.hexadecimal), "
                    + "behind the start of the one at \(after.address.hexadecimal)")
        }
        return segments
    }

    /// As everywhere, what follows the first NUL does not count.
    private static func path(_ header: ELFProgramHeader, _ bytes: ImageBytes) throws(ELFError) -> [UInt8] {
        try bytes.check(header.fileBytes, at: header.offset, by: ("p_offset", "p_filesz"), "the interpreter's path")
        let end = header.offset + header.fileBytes
        guard let path = bytes.string(at: header.offset, end: end, limit: UInt64(interpreterLimit)), !path.isEmpty
        else {
            throw ELFError(
                .interpreter, "p_filesz", header.fileBytes, at: header.offset,
                "the interpreter's path must have 1 to \(interpreterLimit) bytes and a NUL behind them")
        }
        return Array(path)
    }

    private static func address(of header: ELFHeader, _ segments: [Segment]) -> UInt64? {
        for segment in segments where header.tableStart >= segment.fileOffset {
            let inside = header.tableStart - segment.fileOffset
            guard inside <= segment.fileBytes, header.tableBytes <= segment.fileBytes - inside else { continue }
            return segment.address + inside
        }
        return nil
    }
}
