// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import GuestImage

@Suite struct BareLaunchTests {
    private typealias Header = HandMadeKernel.Header

    private func wrong(_ kernel: HandMadeKernel, memory: UInt64? = nil) -> Wrong? {
        Wrong.of(kernel.bytes, as: .elf, memory: memory)
    }

    private func wrong(is32: Bool = false, headers: Header...) -> Wrong? {
        wrong(HandMadeKernel(is32: is32, headers: headers))
    }

    @Test(arguments: [false, true])
    func `a kernel is at its physical addresses, with a GDT, a stack and zeros behind its bytes`(is32: Bool) throws {
        var kernel = HandMadeKernel(is32: is32)
        kernel.headers[0].memoryBytes = 0x1000
        let plan = try LaunchPlan(kernel.bytes)
        #expect(plan.format == .elf && plan.mode == (is32 ? .protected32 : .long64))
        #expect(plan.entryPoint == 0x10_0000 && plan.memoryBytes == JobSpec.defaultMemoryBytes)
        #expect(plan.leastMemoryBytes == 0x10_1000)
        let image = try #require(plan.regions(.image).first)
        #expect(image.address == 0x10_0000 && image.bytes == kernel.body[..<16])
        let zeros = try #require(plan.regions(.zeros).first)
        #expect(zeros.address == 0x10_0010 && zeros.count == 0xFF0 && zeros.bytes.isEmpty)
        let gdt = try #require(plan.tables[.gdt])
        #expect(plan.long(at: gdt.base) == 0 && gdt.limit == 23)
        #expect(plan.long(at: gdt.base + 8) == (is32 ? 0x00CF_9B00_0000_FFFF : 0x00AF_9B00_0000_FFFF))
        #expect(plan.long(at: gdt.base + 16) == 0x00CF_9300_0000_FFFF)
        let stack = try #require(plan.regions(.stack).first)
        #expect(stack.count == 0x1_0000 && plan.registers == [.rsp: stack.end] && stack.end % 16 == 0)
    }

    @Test func `in long mode the first 4 GiB are at their own addresses`() throws {
        let plan = try LaunchPlan(HandMadeKernel().bytes)
        let root = try #require(plan.controls[.cr3])
        #expect(plan.long(at: root) == (root + 0x1000) | 7)
        #expect((1..<512).allSatisfy { plan.long(at: root + $0 * 8) == 0 })
        #expect((0..<4).allSatisfy { plan.long(at: root + 0x1000 + $0 * 8) == (root + 0x2000 + $0 * 0x1000) | 7 })
        for page in [0, 1, 511, 512, 2047] as [UInt64] {
            #expect(plan.long(at: root + 0x2000 + page * 8) == page << 21 | 0xE7)
        }
        #expect(try LaunchPlan(HandMadeKernel(is32: true).bytes).controls == [.cr0: 0x11, .cr4: 0])
    }

    @Test func `an entry at a virtual address is translated as its segment is`() throws {
        var kernel = HandMadeKernel(entry: 0xFFFF_FFFF_8000_0004)
        kernel.headers[0].virtual = 0xFFFF_FFFF_8000_0000
        #expect(try LaunchPlan(kernel.bytes).entryPoint == 0x10_0004)
        kernel.entry = 0x10_0004
        #expect(try LaunchPlan(kernel.bytes).entryPoint == 0x10_0004, "a physical one is there too")
        kernel.entry = 0xFFFF_FFFF_8000_0010
        #expect(wrong(kernel) == Wrong(.entryOutsideImage, "e_entry", 0xFFFF_FFFF_8000_0010))
        kernel.headers[0].virtual = .max
        kernel.entry = .max
        #expect(try LaunchPlan(kernel.bytes).entryPoint == 0x10_0000, "a virtual segment that wraps")
    }

    @Test(arguments: [false, true])
    func `each field of the header is checked`(is32: Bool) {
        let kernel = HandMadeKernel(is32: is32)
        let (size, count, table) = is32 ? (42, 44, 28) : (54, 56, 32)
        for (offset, bytes, value, expected) in [
            (0, 1, 0x7E, Wrong(.otherFormat, "e_ident")), (4, 1, 3, Wrong(.unsupported, "EI_CLASS", 3)),
            (5, 1, 2, Wrong(.unsupported, "EI_DATA", 2)), (6, 1, 0, Wrong(.unsupported, "EI_VERSION", 0)),
            (16, 2, 1, Wrong(.unsupported, "e_type", 1)), (16, 2, 3, Wrong(.unsupported, "e_type", 3)),
            (18, 2, 40, Wrong(.unsupported, "e_machine", 40)), (size, 2, 31, Wrong(.invalidField, "e_phentsize", 31)),
            (count, 2, 0, Wrong(.invalidField, "e_phnum", 0)),
            (count, 2, 0xFFFF, Wrong(.invalidField, "e_phnum", 0xFFFF)),
            (count, 2, 20, Wrong(.truncated, "e_phnum", 20)),
            (table, 4, 0xFFFF_FFFF, Wrong(.truncated, "e_phoff", 0xFFFF_FFFF)),
            (24, 4, 0x20_0000, Wrong(.entryOutsideImage, "e_entry", 0x20_0000)),
        ] as [(Int, Int, UInt64, Wrong)] {
            #expect(wrong(kernel.patched(offset, bytes, value)) == expected, "byte \(offset)")
        }
        #expect(wrong(kernel.patched(18, 2, is32 ? 62 : 3))?.field == "e_machine", "the other class's")
        for count in [4, 16, kernel.headerBytes - 1] {
            #expect(Wrong.of(Array(kernel.bytes.prefix(count)), as: .elf)?.rule == .truncated, "\(count) bytes")
        }
    }

    @Test(arguments: [false, true])
    func `each field of a program header is checked`(is32: Bool) {
        let most: UInt64 = is32 ? 0xFFFF_FFFF : .max
        #expect(wrong(is32: is32, headers: Header(fileBytes: 17)) == Wrong(.invalidField, "p_filesz", 17))
        #expect(wrong(is32: is32, headers: Header(memoryBytes: 0)) == Wrong(.invalidField, "p_filesz", 16))
        #expect(wrong(is32: is32, headers: Header(fileBytes: 0, memoryBytes: 0)) == Wrong(.invalidField, "p_type"))
        #expect(wrong(is32: is32, headers: Header(memoryBytes: most)) == Wrong(.outsideMemory, "p_memsz", most))
        #expect(wrong(is32: is32, headers: Header(physical: most)) == Wrong(.outsideMemory, "p_paddr", most))
        #expect(
            wrong(is32: is32, headers: Header(physical: most - 15)) == Wrong(.outsideMemory, "p_paddr", most - 15),
            "a segment that would wrap")
        #expect(wrong(is32: is32, headers: Header(offset: most)) == Wrong(.truncated, "p_offset", most))
        #expect(wrong(is32: is32, headers: Header(offset: 0x231)) == Wrong(.truncated, "p_filesz", 16))
        #expect(wrong(is32: is32, headers: Header(alignment: 3)) == Wrong(.invalidField, "p_align", 3))
        #expect(wrong(is32: is32, headers: Header(alignment: 0)) == nil)
        #expect(wrong(is32: is32, headers: Header(type: 2)) == Wrong(.invalidField, "p_type"))
        #expect(wrong(is32: is32, headers: Header(), Header(type: 3)) == Wrong(.unsupported, "p_type", 3))
        let last: UInt64 = (1 << 30) - 16
        #expect(wrong(HandMadeKernel(is32: is32, headers: [Header(physical: last)], entry: last)) == nil)
        #expect(wrong(is32: is32, headers: Header(physical: last + 1)) == Wrong(.outsideMemory, "p_memsz", 16))
    }

    @Test func `segments that share an address are refused, whatever their order`() {
        let first = Header(memoryBytes: 0x1000)
        #expect(wrong(headers: first, Header(physical: 0x10_0FFF)) == Wrong(.overlap, "p_paddr", 0x10_0FFF))
        #expect(wrong(headers: Header(physical: 0x10_0FFF), first) == Wrong(.overlap, "p_paddr", 0x10_0FFF))
        #expect(wrong(headers: first, Header(physical: 0x10_1000)) == nil)
        #expect(wrong(headers: first, Header(virtual: 0x10_0000, physical: 0x20_0000)) == nil, "by virtual ones only")
    }

    @Test func `as many program headers as a file can have, and pieces as a job`() throws {
        let spread = { (count: Int) in
            (0..<count).map { Header(offset: 0, physical: 0x10_0000 + UInt64($0) * 32) }
        }
        // A GDT and page tables are two.
        #expect(wrong(HandMadeKernel(headers: spread(MemoryRange.pieceLimit - 2))) == nil)
        #expect(wrong(HandMadeKernel(headers: spread(MemoryRange.pieceLimit - 1))) == Wrong(.tooMany, "segments", 1025))
        #expect(wrong(HandMadeKernel(headers: spread(1171))) == Wrong(.invalidField, "e_phnum", 1171))
        let close = (0..<1170).map { Header(offset: 0, physical: 0x10_0000 + UInt64($0) * 16) }
        let plan = try LaunchPlan(HandMadeKernel(headers: close).bytes)
        #expect(plan.pieces.count == 3, "what adjoins is one piece")
        #expect(plan.map.regions.count == 1170 + 3)
    }

    @Test func `memory grows to what an image needs, unless its size is named`() throws {
        let far = HandMadeKernel(headers: [Header(), Header(physical: 100 << 20)])
        #expect(try LaunchPlan(far.bytes).memoryBytes == 128 << 20)
        #expect(wrong(far, memory: 64 << 20) == Wrong(.outsideMemory, "p_paddr", 100 << 20))
        #expect(wrong(HandMadeKernel(), memory: 4096) == Wrong(.option, "--memory", 4096))
        #expect(wrong(HandMadeKernel(), memory: (1 << 20) + 1) == Wrong(.option, "--memory", (1 << 20) + 1))
        #expect(wrong(HandMadeKernel(), memory: 2 << 30) == Wrong(.option, "--memory", 2 << 30))
    }

    @Test func `a kernel that leaves no room below 1 MiB gets its tables above it, never over its own`() throws {
        let low = Header(offset: 0x200, physical: 0, fileBytes: 16, memoryBytes: 0x9_F004)
        let plan = try LaunchPlan(HandMadeKernel(headers: [low], entry: 0).bytes)
        let gdt = try #require(plan.tables[.gdt])
        #expect(gdt.base >= 0x10_0000)
        #expect(plan.regions(.structure).allSatisfy { $0.address >= 0x10_0000 })
        let all = Header(physical: 0, memoryBytes: 1 << 30)
        #expect(wrong(HandMadeKernel(headers: [all], entry: 0)) == Wrong(.noRoom, "GDT", 24))
    }

    @Test func `nothing is passed to a bare kernel, and its header says how it starts`() {
        let image = HandMadeKernel().bytes
        var options = LaunchOptions(commandLine: [])
        #expect(Wrong.of(image, options) == Wrong(.option, "--append"))
        options = LaunchOptions(modules: [.init(text: [], bytes: [])])
        #expect(Wrong.of(image, options) == Wrong(.option, "--module"))
        options = LaunchOptions()
        options.mode = .long64
        #expect(Wrong.of(image, options) == Wrong(.option, "--mode"))
        (options.mode, options.loadAddress) = (nil, 0)
        #expect(Wrong.of(image, options) == Wrong(.option, "--load"))
        (options.loadAddress, options.entryPoint) = (nil, 0)
        #expect(Wrong.of(image, options) == Wrong(.option, "--entry"))
    }

    @Test func `a header of Multiboot 2 is told of`() throws {
        var kernel = HandMadeKernel()
        kernel.body = HandMadeKernel.words([0xE852_50D6, 0, 24, 0 &- (0xE852_50D6 + 24)]) + kernel.body
        #expect(try LaunchPlan(kernel.bytes).notes.first?.contains("Multiboot 2 at byte 512") == true)
        #expect(try LaunchPlan(kernel.patched(0x208, 4, 25).bytes).notes.isEmpty, "a wrong checksum")
        #expect(try LaunchPlan(HandMadeKernel().bytes).notes.isEmpty)
    }

    @Test func `a Multiboot header with a wrong checksum is told of`() throws {
        let kernel = HandMadeKernel.multibootKernel().patched(0x208, 4, 1)
        #expect(try LaunchPlan(kernel.bytes).notes.first?.contains("byte 512") == true)
        #expect(Wrong.of(kernel.bytes, as: .multiboot) == Wrong(.invalidField, "checksum", 1))
    }
}
