// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a file's dynamic section asks of a dynamic linker. Found by the program headers, since sections may be stripped.
///
/// Strings are bytes, as file names are; none is empty but for a search path that says so.
public struct ELFDynamics: Sendable, Hashable {
    /// The libraries that the file needs, in its order.
    public private(set) var needed: [[UInt8]] = []
    /// The name that the file has as a library.
    public private(set) var soname: [UInt8]?
    /// Directories to search, for the file and all that it needs, with colons between.
    public private(set) var rpath: [UInt8]?
    /// Directories to search, for what the file itself needs, with colons between; where there is one, ``rpath`` does not count.
    public private(set) var runpath: [UInt8]?
    /// Whether libraries are not to be looked for in the system's own directories (`DF_1_NODEFLIB`).
    public private(set) var avoidsDefaultDirectories = false

    /// The most entries of a dynamic section: 4096.
    public static let entryLimit = 4096
    /// The most libraries that a file can need: 1024.
    public static let neededLimit = 1024
    /// The most bytes of a name or a search path: 16 KiB.
    public static let stringLimit = 16_384

    /// The tags of entries; other entries are not looked at.
    private enum Tag {
        static let end: UInt64 = 0, needed: UInt64 = 1, strings: UInt64 = 5, stringBytes: UInt64 = 10
        static let soname: UInt64 = 14, rpath: UInt64 = 15, runpath: UInt64 = 29, flags: UInt64 = 0x6FFF_FFFB
    }

    private static let noDefaultLibraries: UInt64 = 0x800

    /// Reads the dynamic section; a file without one asks for nothing.
    ///
    /// - Parameter bytes: those that `file` was read from.
    public init(_ file: ELFFile, _ bytes: [UInt8]) throws(ELFError) { try self.init(file, bytes[...]) }

    /// Reads the dynamic section; a file without one asks for nothing.
    ///
    /// - Parameter bytes: those that `file` was read from.
    public init(_ file: ELFFile, _ bytes: ArraySlice<UInt8>) throws(ELFError) {
        guard let section = file.dynamicSection else { return }
        let bytes = ImageBytes(bytes)
        let entries = try Self.entries(section, bytes)
        let strings = Self.stringTable(entries, file)
        for entry in entries {
            switch entry.tag {
            case Tag.needed: needed.append(try Self.string(entry, strings, bytes))
            case Tag.soname: soname = try Self.string(entry, strings, bytes)
            case Tag.rpath: rpath = try Self.string(entry, strings, bytes)
            case Tag.runpath: runpath = try Self.string(entry, strings, bytes)
            case Tag.flags: avoidsDefaultDirectories = entry.value & Self.noDefaultLibraries != 0
            default: break
            }
            guard needed.count <= Self.neededLimit else {
                throw ELFError(
                    .dynamicSection, "DT_NEEDED", UInt64(needed.count), at: entry.place,
                    "the file needs more than \(Self.neededLimit) libraries")
            }
        }
        needed.removeAll(where: \.isEmpty)
    }

    private struct Entry {
        let place: UInt64
        let tag: UInt64
        let value: UInt64
    }

    /// The entries before the one that ends them.
    private static func entries(_ section: Range<UInt64>, _ bytes: ImageBytes) throws(ELFError) -> [Entry] {
        var entries: [Entry] = []
        // Not by stride: the file says where the section ends, and that end plus an entry may not fit in 64 bits.
        for index in 0..<UInt64(section.count) / 16 {
            let place = section.lowerBound + index * 16
            let entry = Entry(place: place, tag: bytes.long(at: place), value: bytes.long(at: place + 8))
            if entry.tag == Tag.end { break }
            guard entries.count < entryLimit else {
                throw ELFError(
                    .dynamicSection, "p_filesz", UInt64(section.count), at: place,
                    "the dynamic section has more than \(entryLimit) entries")
            }
            entries.append(entry)
        }
        return entries
    }

    /// Where the strings are in the file; empty if the file does not say.
    private static func stringTable(_ entries: [Entry], _ file: ELFFile) -> Range<UInt64> {
        guard let address = entries.last(where: { $0.tag == Tag.strings })?.value,
            let count = entries.last(where: { $0.tag == Tag.stringBytes })?.value,
            let start = file.offset(of: address)
        else { return 0..<0 }
        let end = start.addingReportingOverflow(count)
        return start..<(end.overflow ? .max : end.partialValue)
    }

    private static func string(
        _ entry: Entry, _ table: Range<UInt64>, _ bytes: ImageBytes
    ) throws(ELFError) -> [UInt8] {
        let place = table.lowerBound.addingReportingOverflow(entry.value)
        guard !place.overflow,
            let string = bytes.string(at: place.partialValue, end: table.upperBound, limit: UInt64(stringLimit))
        else {
            throw ELFError(
                .string, "d_val", entry.value, at: entry.place,
                "string \(entry.value) of the dynamic section must lie in its table of \(table.upperBound - table.lowerBound) bytes, "
                    + "have at most \(stringLimit) bytes, and a NUL behind them")
        }
        return Array(string)
    }
}
