// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The functions of a file by their addresses, so that an address can be told by a name: `main+0x14`.
///
/// They come from `.symtab`, or from `.dynsym` where that was stripped.
public struct ELFSymbols: Sendable {
    /// A function, and how far in it an address is.
    public struct Place: Sendable, Hashable, CustomStringConvertible {
        /// The function's name, fit to be shown: at most ``ELFSymbols/nameLimit`` bytes of the file's, with U+FFFD for what cannot
        /// be seen.
        public let name: String
        /// The function's first address, before any bias.
        public let address: UInt64
        /// How many bytes behind it.
        public let distance: UInt64

        /// As people write it: `main+0x14`.
        public var description: String { "\(name)+0x\(String(distance, radix: 16))" }
    }

    /// The most sections: 65,535.
    public static let sectionLimit = 65_535
    /// The most symbols that are looked at: 4,194,304, which are 96 MiB of them.
    public static let symbolLimit = 1 << 22
    /// The most bytes of a name that is shown; what is longer is cut, and ends in "...".
    public static let nameLimit = 512

    private static let sectionBytes: UInt64 = 64
    private static let symbolBytes: UInt64 = 24

    private let bytes: ImageBytes
    /// The table of section headers; the file has it all.
    private let sections: Table
    /// The symbols; the file has them all.
    private let symbols: Table
    private let strings: Range<UInt64>

    private struct Table {
        var start: UInt64 = 0
        var count: UInt64 = 0
    }

    /// Finds the symbols of a file, which may have none. Shares the bytes.
    ///
    /// - Parameter bytes: an ELF file's, as ``ELFFile`` takes them.
    public init(_ bytes: [UInt8]) throws(ELFError) { try self.init(bytes[...]) }

    /// Finds the symbols of a file, which may have none. Shares the bytes.
    ///
    /// - Parameter bytes: an ELF file's, as ``ELFFile`` takes them.
    public init(_ slice: ArraySlice<UInt8>) throws(ELFError) {
        bytes = ImageBytes(slice)
        _ = try ELFHeader(bytes)
        sections = try Self.sections(bytes)
        guard let table = Self.section(ofType: 2, sections, bytes) ?? Self.section(ofType: 11, sections, bytes) else {
            (symbols, strings) = (Table(), 0..<0)
            return
        }
        let start = bytes.long(at: table + 24)
        let size = bytes.long(at: table + 32)
        try bytes.check(size, at: start, by: ("sh_offset", "sh_size"), "the symbol table")
        let entry = bytes.long(at: table + 56)
        guard entry == Self.symbolBytes, size / Self.symbolBytes <= UInt64(Self.symbolLimit) else {
            throw ELFError(
                .symbolTable, "sh_entsize", entry, at: table,
                "\(size) bytes of symbols of \(entry) bytes each: there can be \(Self.symbolLimit) symbols of "
                    + "\(Self.symbolBytes) bytes")
        }
        symbols = Table(start: start, count: size / Self.symbolBytes)
        strings = Self.range(of: UInt64(bytes.word(at: table + 40)), sections, bytes)
    }

    /// The function that has this address, or the nearest one below of those that do not say where they end. Looks at every symbol.
    ///
    /// - Parameter address: one as in the file: without the bias at which it was loaded.
    public func function(at address: UInt64) -> Place? {
        var best: Symbol?
        for index in 0..<symbols.count {
            let symbol = Symbol(bytes, at: symbols.start + index * Self.symbolBytes)
            guard symbol.covers(address), isFunction(symbol), best.map({ symbol.isBetter(than: $0) }) ?? true else {
                continue
            }
            best = symbol
        }
        guard let best, let name = name(of: best) else { return nil }
        return Place(name: name, address: best.address, distance: address - best.address)
    }

    // MARK: Symbols

    private struct Symbol {
        let name: UInt64
        let type: UInt8
        let isLocal: Bool
        let section: UInt64
        let address: UInt64
        let count: UInt64

        init(_ bytes: ImageBytes, at place: UInt64) {
            name = UInt64(bytes.word(at: place))
            let info = bytes.byte(at: place + 4)
            (type, isLocal) = (info & 15, info >> 4 == 0)
            section = UInt64(bytes.half(at: place + 6))
            address = bytes.long(at: place + 8)
            count = bytes.long(at: place + 16)
        }

        /// Hand-written code often does not say how long it is.
        func covers(_ place: UInt64) -> Bool {
            section != 0 && name != 0 && address <= place && (count == 0 || place - address < count)
        }

        /// The nearest; of several names for one place a function's before a label's, and what others see before what they do not.
        func isBetter(than other: Symbol) -> Bool {
            if address != other.address { return address > other.address }
            let (mine, others) = (count > 0, other.count > 0)
            if mine != others { return mine }
            return other.isLocal && !isLocal
        }
    }

    /// Functions (2), indirect ones (10), and labels (0) in code.
    private func isFunction(_ symbol: Symbol) -> Bool {
        if symbol.type == 2 || symbol.type == 10 { return true }
        guard symbol.type == 0, symbol.section < sections.count else { return false }
        return bytes.long(at: sections.start + symbol.section * Self.sectionBytes + 8) & 4 != 0
    }

    private func name(of symbol: Symbol) -> String? {
        let (start, overflow) = strings.lowerBound.addingReportingOverflow(symbol.name)
        let end = min(strings.upperBound, bytes.count)
        guard !overflow, start < end else { return nil }
        let limit = UInt64(Self.nameLimit)
        let reach = bytes[start, min(end - start, limit + 1)]
        let name = reach.prefix { $0 != 0 }
        guard !name.isEmpty else { return nil }
        return String(printable: name.prefix(Self.nameLimit)) + (name.count > Self.nameLimit ? "..." : "")
    }

    // MARK: Sections

    /// A count of 0 with headers there stands in the first header, as it does where there are 65,280 or more.
    private static func sections(_ bytes: ImageBytes) throws(ELFError) -> Table {
        let start = bytes.long(at: 40)
        guard start != 0 else { return Table() }
        guard bytes.half(at: 58) == sectionBytes else {
            throw ELFError(
                .sectionHeaders, "e_shentsize", UInt64(bytes.half(at: 58)), at: 58,
                "a section header of \(bytes.half(at: 58)) bytes: it must have \(sectionBytes)"
            )
        }
        try bytes.check(sectionBytes, at: start, by: ("e_shoff", "e_shentsize"), "the first section header")
        var count = UInt64(bytes.half(at: 60))
        if count == 0 { count = bytes.long(at: start + 32) }
        guard count <= UInt64(sectionLimit) else {
            throw ELFError(
                .sectionHeaders, "e_shnum", count, at: 60, "\(count) sections: there can be \(sectionLimit) of them")
        }
        try bytes.check(
            count * sectionBytes, at: start, by: ("e_shoff", "e_shnum"), saying: count, "the table of section headers")
        return Table(start: start, count: count)
    }

    /// Where the header of the first section of a type is.
    private static func section(ofType type: UInt32, _ sections: Table, _ bytes: ImageBytes) -> UInt64? {
        for index in 0..<sections.count {
            let place = sections.start + index * sectionBytes
            if bytes.word(at: place + 4) == type { return place }
        }
        return nil
    }

    /// A section's bytes in the file; none of one that is not there.
    private static func range(of index: UInt64, _ sections: Table, _ bytes: ImageBytes) -> Range<UInt64> {
        guard index < sections.count else { return 0..<0 }
        let place = sections.start + index * sectionBytes
        let (start, size) = (bytes.long(at: place + 24), bytes.long(at: place + 32))
        return bytes.has(size, at: start) ? start..<start + size : 0..<0
    }
}
