// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import GuestImage

/// An ELF file made by hand: a header, program headers, and what follows them.
struct HandMadeELF {
    struct Header {
        var type: UInt32 = 1
        var flags: UInt32 = 5
        var offset: UInt64 = 0
        var address: UInt64 = 0x40_0000
        var fileBytes: UInt64 = 64
        var memoryBytes: UInt64 = 64
        var alignment: UInt64 = 0x1000
    }

    var headers = [Header()]
    var entry: UInt64 = 0x40_0000
    /// Numbers of so many bytes that are written over the file at the end.
    var patches: [(offset: Int, bytes: Int, value: UInt64)] = []
    var tail: [UInt8] = []

    /// Where the tail begins.
    var tailOffset: UInt64 { UInt64(64 + headers.count * 56) }

    static func number(_ value: UInt64, _ bytes: Int) -> [UInt8] {
        (0..<bytes).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
    }

    var bytes: [UInt8] {
        let long = { Self.number($0, 8) }
        var file: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1] + [UInt8](repeating: 0, count: 9)
        file += [2, 0, 62, 0, 1, 0, 0, 0] + long(entry) + long(64) + long(0) + [0, 0, 0, 0, 64, 0, 56, 0]
        file += Self.number(UInt64(headers.count), 2) + [64, 0, 0, 0, 0, 0]
        for header in headers {
            file += Self.number(UInt64(header.type), 4) + Self.number(UInt64(header.flags), 4) + long(header.offset)
            file += long(header.address) + long(0) + long(header.fileBytes) + long(header.memoryBytes)
            file += long(header.alignment)
        }
        file += tail
        for patch in patches {
            file.replaceSubrange(patch.offset..<patch.offset + patch.bytes, with: Self.number(patch.value, patch.bytes))
        }
        return file
    }

    func patched(_ offset: Int, _ bytes: Int, _ value: UInt64) -> HandMadeELF {
        var copy = self
        copy.patches.append((offset, bytes, value))
        return copy
    }
}

@Suite struct ELFRefusalTests {
    private typealias Header = HandMadeELF.Header

    private func rule(_ file: HandMadeELF, _ read: ([UInt8]) throws -> Void = { _ = try ELFFile($0) }) -> ELFError.Rule?
    {
        do {
            try read(file.bytes)
            return nil
        } catch {
            return (error as? ELFError)?.rule
        }
    }

    private func rule(headers: Header...) -> ELFError.Rule? { rule(HandMadeELF(headers: headers)) }

    @Test func `the least file is taken`() throws {
        let file = try ELFFile(HandMadeELF().bytes)
        #expect(file.linkage == .fixed && file.entry == 0x40_0000 && file.segments.count == 1)
        #expect(file.programHeadersAddress == nil, "the segment has the header only")
    }

    @Test func `what is no file for this machine is refused`() {
        let file = HandMadeELF()
        #expect(throws: ELFError.self) { try ELFFile([UInt8]()) }
        #expect(rule(file.patched(0, 1, 0x7E)) == .notELF)
        for (offset, value) in [(4, 1), (5, 2), (6, 0), (18, 3)] as [(Int, UInt64)] {
            #expect(rule(file.patched(offset, 1, value)) == .otherMachine, "byte \(offset)")
        }
        for type in [0, 1, 4, 5] as [UInt64] { #expect(rule(file.patched(16, 2, type)) == .notLoadable) }
        for count in [4, 5, 63] {
            let error = #expect(throws: ELFError.self) { try ELFFile(Array(file.bytes.prefix(count))) }
            #expect(error?.rule == .truncated)
        }
    }

    @Test func `program headers have their size, their number and their place`() {
        let file = HandMadeELF()
        #expect(rule(file.patched(54, 2, 55)) == .programHeaders)
        #expect(rule(file.patched(56, 2, 0)) == .programHeaders)
        #expect(rule(file.patched(56, 2, 2)) == .truncated)
        #expect(rule(file.patched(32, 8, .max)) == .truncated)
        #expect(rule(file.patched(32, 8, 65)) == .truncated)
        var many = HandMadeELF()
        many.headers += [Header](repeating: Header(type: 0), count: ELFFile.programHeaderLimit - 1)
        #expect(rule(many) == nil)
        many.headers.append(Header(type: 0))
        #expect(rule(many) == .programHeaders)
        #expect(rule(file.patched(56, 2, 0xFFFF)) == .programHeaders)
    }

    @Test func `an error names the field and its value`() {
        let error = #expect(throws: ELFError.self) { try ELFFile(HandMadeELF().patched(54, 2, 55).bytes) }
        #expect(error?.field == "e_phentsize" && error?.value == 55 && error?.offset == 54)
        let segment = HandMadeELF(headers: [Header(fileBytes: 64, memoryBytes: 63)])
        let other = #expect(throws: ELFError.self) { try ELFFile(segment.bytes) }
        #expect(other?.field == "p_filesz" && other?.value == 64)
    }

    @Test func `segments have sizes that go together, and lie in the file`() {
        #expect(rule(headers: Header(type: 2)) == .noSegments)
        #expect(rule(headers: Header(fileBytes: 0, memoryBytes: 0)) == .noSegments)
        #expect(rule(headers: Header(fileBytes: 64, memoryBytes: 63)) == .segmentSize)
        #expect(rule(headers: Header(fileBytes: 121, memoryBytes: 121)) == .truncated)
        #expect(rule(headers: Header(offset: .max)) == .truncated)
        #expect(rule(headers: Header(fileBytes: .max, memoryBytes: .max)) == .addressRange)
        #expect(rule(headers: Header(alignment: 3)) == .segmentAlignment)
        #expect(rule(headers: Header(alignment: 0)) == nil)
        #expect(rule(headers: Header(alignment: 1 << 63)) == nil)
    }

    @Test func `segments and the entry lie below the limit of addresses`() throws {
        let end = ELFFile.lowerHalfEnd
        #expect(rule(headers: Header(address: end - 64)) == nil)
        #expect(rule(headers: Header(address: end - 63)) == .addressRange)
        #expect(rule(headers: Header(address: .max - 10)) == .addressRange)
        #expect(rule(HandMadeELF(entry: end)) == .addressRange)
        #expect(rule(HandMadeELF(entry: end - 1)) == nil)
        let kernel = HandMadeELF(headers: [Header(address: 0xFFFF_FFFF_8000_0000)], entry: 0xFFFF_FFFF_8000_0000)
        #expect(rule(kernel) == .addressRange)
        #expect(try ELFFile(kernel.bytes, addressLimit: .max).segments[0].end == 0xFFFF_FFFF_8000_0040)
    }

    @Test func `segments are sorted, and none is over another`() throws {
        let (low, high) = (Header(address: 0x1000, memoryBytes: 0x1000), Header(address: 0x2000))
        let file = try ELFFile(HandMadeELF(headers: [high, low]).bytes)
        #expect(file.segments.map(\.address) == [0x1000, 0x2000])
        #expect(rule(headers: high, Header(address: 0x1000, memoryBytes: 0x1001)) == .segmentOverlap)
        #expect(rule(headers: high, high) == .segmentOverlap)
        #expect(file.offset(of: 0x103F) == 63 && file.offset(of: 0x1040) == nil && file.offset(of: 0xFFF) == nil)
    }

    @Test func `an interpreter's path is something, ends, and is not too long`() throws {
        func file(_ path: [UInt8]) -> HandMadeELF {
            let header = Header(type: 3, offset: 64 + 2 * 56, fileBytes: UInt64(path.count))
            return HandMadeELF(headers: [Header(), header], tail: path)
        }
        #expect(try ELFFile(file([0x2F, 0x61, 0, 0x62]).bytes).interpreter == [0x2F, 0x61])
        #expect(rule(file([0])) == .interpreter)
        #expect(rule(file([])) == .interpreter)
        #expect(rule(file([0x2F])) == .interpreter)
        let longest = [UInt8](repeating: 0x61, count: ELFFile.interpreterLimit)
        #expect(rule(file(longest + [0])) == nil)
        #expect(rule(file(longest + [0x61, 0])) == .interpreter)
        #expect(rule(HandMadeELF(headers: [Header(), Header(type: 3, offset: .max, fileBytes: 2)])) == .truncated)
    }

    @Test func `program headers are where a segment has them, or where they say`() throws {
        let whole = Header(fileBytes: 64 + 56, memoryBytes: 64 + 56)
        #expect(try ELFFile(HandMadeELF(headers: [whole]).bytes).programHeadersAddress == 0x40_0040)
        let said = HandMadeELF(headers: [Header(), Header(type: 6, address: 0x1234)])
        #expect(try ELFFile(said.bytes).programHeadersAddress == 0x1234)
    }
}

@Suite struct ELFDynamicsTests {
    /// A file whose only segment has all of it, at 0x400000.
    private func file(_ entries: [(UInt64, UInt64)], strings: [UInt8] = [], stringBytes: UInt64? = nil) -> [UInt8] {
        let start: UInt64 = 64 + 2 * 56
        let table = start + UInt64(entries.count + 3) * 16
        let all: [(UInt64, UInt64)] =
            [(5, 0x40_0000 + table), (10, stringBytes ?? UInt64(strings.count))] + entries + [(0, 0)]
        let tail = all.flatMap { HandMadeELF.number($0.0, 8) + HandMadeELF.number($0.1, 8) } + strings
        let count = start + UInt64(tail.count)
        return HandMadeELF(
            headers: [
                .init(fileBytes: count, memoryBytes: count),
                .init(type: 2, offset: start, fileBytes: UInt64(all.count * 16)),
            ], tail: tail
        ).bytes
    }

    private func read(_ bytes: [UInt8]) throws -> ELFDynamics { try ELFDynamics(try ELFFile(bytes), bytes) }

    private func rule(_ bytes: [UInt8]) -> ELFError.Rule? {
        do {
            _ = try read(bytes)
            return nil
        } catch { return (error as? ELFError)?.rule }
    }

    @Test func `names and search paths are read`() throws {
        let strings = Array("\0a.so\0/x:/y\0".utf8)
        let dynamics = try read(
            file([(1, 1), (14, 1), (15, 6), (29, 6), (0x6FFF_FFFB, 0x801), (1, 2), (1, 0)], strings: strings))
        #expect(dynamics.needed == [Array("a.so".utf8), Array(".so".utf8)])
        #expect(dynamics.soname == Array("a.so".utf8))
        #expect(dynamics.rpath == Array("/x:/y".utf8) && dynamics.runpath == dynamics.rpath)
        #expect(dynamics.avoidsDefaultDirectories)
        #expect(try read(HandMadeELF().bytes).needed.isEmpty)
    }

    @Test func `entries, libraries and strings are bounded`() {
        let one = Array("\0a\0".utf8)
        let needed = { [(UInt64, UInt64)](repeating: (1, 1), count: $0) }
        #expect(rule(file(needed(ELFDynamics.neededLimit), strings: one)) == nil)
        #expect(rule(file(needed(ELFDynamics.neededLimit + 1), strings: one)) == .dynamicSection)
        let others = { [(UInt64, UInt64)](repeating: (99, 1), count: $0) }
        #expect(rule(file(others(ELFDynamics.entryLimit - 2))) == nil)
        #expect(rule(file(others(ELFDynamics.entryLimit - 1))) == .dynamicSection)
        let long = [UInt8](repeating: 0x61, count: ELFDynamics.stringLimit)
        #expect(rule(file([(1, 0)], strings: long + [0])) == nil)
        #expect(rule(file([(1, 0)], strings: long + [0x61, 0])) == .string)
        for place in [2, 3, 4, .max] as [UInt64] {
            #expect(rule(file([(1, place)], strings: [0, 0x61])) == .string, "string \(place)")
        }
        #expect(rule(file([(1, 1)], strings: one, stringBytes: .max)) == nil)
        #expect(rule(file([(1, 1)], strings: one, stringBytes: 2)) == .string)
    }
}

@Suite struct ELFSymbolTests {
    private struct Symbol {
        var name: UInt64 = 1
        var info: UInt64 = 0x12
        var section: UInt64 = 1
        var address: UInt64 = 0x1000
        var count: UInt64 = 16
    }

    /// Sections: none, code, symbols, strings.
    private func file(_ symbols: [Symbol], strings: String = "\0one\0two\0", entryBytes: UInt64 = 24) -> HandMadeELF {
        var file = HandMadeELF()
        let number = HandMadeELF.number
        for symbol in symbols {
            file.tail += number(symbol.name, 4) + number(symbol.info, 1) + [0] + number(symbol.section, 2)
            file.tail += number(symbol.address, 8) + number(symbol.count, 8)
        }
        let (start, table) = (file.tailOffset, UInt64(symbols.count * 24))
        file.tail += Array(strings.utf8)
        let sections = start + UInt64(file.tail.count)
        func section(_ type: UInt64, flags: UInt64 = 0, _ offset: UInt64, _ size: UInt64, link: UInt64 = 0) {
            file.tail += [0, 0, 0, 0] + number(type, 4) + number(flags, 8) + number(0, 8) + number(offset, 8)
            file.tail += number(size, 8) + number(link, 4) + [0, 0, 0, 0] + number(8, 8)
            file.tail += number(type == 2 ? entryBytes : 0, 8)
        }
        section(0, 0, 4)
        section(1, flags: 4, 0, 0)
        section(2, start, table, link: 3)
        section(3, start + table, UInt64(strings.utf8.count))
        return file.patched(40, 8, sections).patched(58, 2, 64).patched(60, 2, 4)
    }

    private func name(_ symbols: Symbol..., at address: UInt64, strings: String = "\0one\0two\0") throws -> String? {
        try ELFSymbols(file(symbols, strings: strings).bytes).function(at: address)?.description
    }

    @Test func `the nearest function below has the address, if it is as long as that`() throws {
        let (one, two) = (Symbol(), Symbol(name: 5, address: 0x1008, count: 4))
        #expect(try name(one, two, at: 0xFFF) == nil)
        #expect(try name(one, two, at: 0x1000) == "one+0x0")
        #expect(try name(one, two, at: 0x100B) == "two+0x3")
        #expect(try name(one, two, at: 0x100C) == "one+0xc", "behind the inner one's end")
        #expect(try name(one, two, at: 0x1010) == nil)
        #expect(try name(Symbol(count: 0), at: 0x5000) == "one+0x4000")
        #expect(try name(Symbol(address: .max - 1, count: .max), at: .max) == "one+0x1")
    }

    @Test func `data, imports and labels of no code are no functions`() throws {
        #expect(try name(Symbol(info: 0x11), at: 0x1000) == nil)
        #expect(try name(Symbol(section: 0), at: 0x1000) == nil)
        #expect(try name(Symbol(info: 0x10), at: 0x1000) == "one+0x0")
        #expect(try name(Symbol(info: 0x10, section: 3), at: 0x1000) == nil)
        #expect(try name(Symbol(info: 0x10, section: 0xFFF1), at: 0x1000) == nil)
        #expect(try name(Symbol(info: 0x1A), at: 0x1000) == "one+0x0")
    }

    @Test func `of several names the one that others see is told`() throws {
        #expect(try name(Symbol(info: 2), Symbol(name: 5), at: 0x1000) == "two+0x0")
        #expect(try name(Symbol(name: 5), Symbol(info: 2), at: 0x1000) == "two+0x0")
        #expect(try name(Symbol(count: 0), Symbol(name: 5, info: 2), at: 0x1000) == "two+0x0")
    }

    @Test func `a name does nothing to a terminal, and is cut where it is too long`() throws {
        #expect(
            try name(Symbol(), at: 0x1000, strings: "\0a\u{1B}[2J b\u{202E}é\u{301}\0")
                == "a\u{FFFD}[2J\u{FFFD}b\u{FFFD}é\u{FFFD}+0x0")
        let long = String(repeating: "x", count: ELFSymbols.nameLimit)
        #expect(try name(Symbol(), at: 0x1000, strings: "\0\(long)\0") == "\(long)+0x0")
        #expect(try name(Symbol(), at: 0x1000, strings: "\0\(long)x\0") == "\(long)...+0x0")
        #expect(try name(Symbol(name: 0xFFFF_FFFF), at: 0x1000) == nil)
    }

    @Test func `sections and symbols that cannot be are refused, and a file without sections has no names`() throws {
        func rule(_ file: HandMadeELF) -> ELFError.Rule? {
            let error = #expect(throws: ELFError.self) { try ELFSymbols(file.bytes) }
            return error?.rule
        }
        #expect(try ELFSymbols(HandMadeELF().bytes).function(at: 0x40_0000) == nil)
        let file = file([Symbol()])
        #expect(rule(file.patched(58, 2, 63)) == .sectionHeaders)
        #expect(rule(file.patched(60, 2, 5)) == .truncated)
        #expect(rule(file.patched(40, 8, .max)) == .truncated)
        #expect(rule(self.file([Symbol()], entryBytes: 25)) == .symbolTable)
        // With a count of 0 in the header the number of sections stands in the first of them, where this file has 4.
        #expect(try ELFSymbols(file.patched(60, 2, 0).bytes).function(at: 0x1000)?.name == "one")
        let sections = file.bytes.count - 4 * 64
        #expect(
            rule(file.patched(60, 2, 0).patched(sections + 32, 8, UInt64(ELFSymbols.sectionLimit) + 1))
                == .sectionHeaders)
        #expect(rule(file.patched(sections + 2 * 64 + 32, 8, .max)) == .truncated)
    }

    @Test func `no more symbols than the limit are looked at`() throws {
        // As many zeros as are one symbol too many.
        var file = file([])
        let size = UInt64(ELFSymbols.symbolLimit + 1) * 24
        let sections = file.bytes.count - 4 * 64
        file = file.patched(sections + 2 * 64 + 24, 8, UInt64(file.bytes.count)).patched(
            sections + 2 * 64 + 32, 8, size)
        let bytes = file.bytes + [UInt8](repeating: 0, count: Int(size))
        let error = #expect(throws: ELFError.self) { try ELFSymbols(bytes) }
        #expect(error?.rule == .symbolTable)
    }
}
