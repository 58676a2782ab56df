// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import GuestImage

@Suite struct MultibootLaunchTests {
    private func wrong(_ image: [UInt8]) -> Wrong? { Wrong.of(image, as: .multiboot) }

    /// A file that is its own segment: a header with addresses, then code, loaded to 1 MiB.
    private func kludge(_ addresses: [UInt64], before: Int = 0, behind: Int = 64) -> [UInt8] {
        [UInt8](repeating: 0x11, count: before) + HandMadeKernel.multiboot(flags: 0x1_0003, addresses)
            + [UInt8](repeating: 0xF4, count: behind)
    }

    @Test(arguments: [true, false])
    func `an ELF kernel of either class starts in protected mode with the magic number and the information`(
        is32: Bool
    ) throws {
        let plan = try LaunchPlan(HandMadeKernel.multibootKernel(is32: is32).bytes)
        #expect(plan.format == .multiboot && plan.mode == .protected32 && plan.entryPoint == 0x10_000C)
        #expect(plan.registers[.rax] == 0x2BAD_B002 && plan.controls == [.cr0: 0x11, .cr4: 0])
        let information = try #require(plan.registers[.rbx])
        #expect(plan.map.region(at: information)?.name == "Multiboot information")
    }

    @Test func `the information says what there is`() throws {
        var options = LaunchOptions(commandLine: Array("root=/dev/x quiet".utf8), memoryBytes: 32 << 20)
        options.modules = [
            .init(text: Array("one".utf8), bytes: [1, 2, 3]), .init(text: Array("two a=b".utf8), bytes: []),
        ]
        let plan = try LaunchPlan(HandMadeKernel.multibootKernel().bytes, options)
        let place = try #require(plan.registers[.rbx])
        #expect(plan.word(at: place) == 0x24D, "sizes, command line, modules, memory map, loader's name")
        #expect(plan.word(at: place + 4) == 639 && plan.word(at: place + 8) == 31 * 1024)
        #expect(plan.text(at: plan.word(at: place + 16)) == "root=/dev/x quiet")
        #expect(plan.text(at: plan.word(at: place + 64)) == "kvmjob")
        #expect(plan.word(at: place + 20) == 2)
        let list = plan.word(at: place + 24)
        let start = plan.word(at: list)
        #expect(
            start % 4096 == 0 && plan.word(at: list + 4) == start + 3 && plan.text(at: plan.word(at: list + 8)) == "one"
        )
        #expect(plan.number(at: start, bytes: 3) == 0x03_0201)
        #expect(plan.word(at: list + 16) == plan.word(at: list + 20), "a module without bytes")
        #expect(plan.word(at: list + 16) > start && plan.text(at: plan.word(at: list + 24)) == "two a=b")
    }

    @Test func `the memory map is a PC's`() throws {
        let plan = try LaunchPlan(HandMadeKernel.multibootKernel().bytes, LaunchOptions(memoryBytes: 2 << 20))
        let place = try #require(plan.registers[.rbx])
        #expect(plan.word(at: place + 44) == 4 * 24)
        let table = plan.word(at: place + 48)
        let ranges = (0..<4).map { index -> [UInt64] in
            let entry = table + UInt64(index) * 24
            return [
                plan.word(at: entry), plan.long(at: entry + 4), plan.long(at: entry + 12), plan.word(at: entry + 20),
            ]
        }
        #expect(
            ranges == [
                [20, 0, 0x9_FC00, 1], [20, 0x9_FC00, 0x400, 2], [20, 0xE_0000, 0x2_0000, 2],
                [20, 0x10_0000, 0x10_0000, 1],
            ])
    }

    @Test func `flags that ask for what there is not are refused`() {
        for (flags, isTaken) in [
            (0, true), (1, true), (2, true), (4, false), (8, false), (0x8000, false), (0x8002_0000, true),
        ] {
            let image = HandMadeKernel.multibootKernel(flags: UInt64(flags)).bytes
            #expect(wrong(image) == (isTaken ? nil : Wrong(.unsupported, "flags", UInt64(flags))), "\(flags)")
        }
    }

    @Test func `a header is there, sums up to 0, and lies in the first 8192 bytes`() {
        let elf = HandMadeKernel(is32: true).bytes
        #expect(wrong(elf) == Wrong(.otherFormat, "magic", 0x464C_457F))
        let header = HandMadeKernel.multiboot()
        #expect(wrong(header.dropLast() + [0]) == Wrong(.invalidField, "checksum", 0x52_4FFB))
        #expect(wrong([UInt8](repeating: 0, count: 8184) + header)?.field == "magic")
        #expect(wrong([])?.field == "magic")
        #expect(wrong(Array(header.prefix(11)))?.field == "magic", "cut short")
        #expect(wrong(header) == Wrong(.invalidField, "flags", 3), "neither ELF nor addresses")
    }

    @Test func `addresses of the header say what goes where`() throws {
        // Header at byte 16 of the file; the byte for load_addr is byte 8.
        let image = kludge([0x10_0008, 0x10_0000, 0x10_0040, 0x10_1000, 0x10_0028], before: 16)
        let plan = try LaunchPlan(image)
        let region = try #require(plan.regions(.image).first)
        #expect(region.address == 0x10_0000 && region.bytes == image[8..<72])
        #expect(plan.regions(.zeros).first?.end == 0x10_1000 && plan.entryPoint == 0x10_0028)
        let whole = try LaunchPlan(kludge([0x10_0000, 0x10_0000, 0, 0, 0x10_0020]))
        #expect(whole.regions(.image).first?.count == 96 && whole.regions(.zeros).isEmpty)
        var elf = HandMadeKernel.multibootKernel()
        elf.body = HandMadeKernel.multiboot(flags: 0x1_0000, [0x20_0000, 0x20_0000, 0, 0, 0x20_0000]) + [0xF4]
        #expect(try LaunchPlan(elf.bytes).regions(.image).first?.address == 0x20_0000, "they count in ELF files too")
    }

    @Test func `each of the addresses is checked against the others`() {
        let base: UInt64 = 0x10_0000
        for (addresses, expected) in [
            ([base - 1, base, 0, 0, base], Wrong(.invalidField, "header_addr", base - 1)),
            ([base + 1, base, 0, 0, base], Wrong(.invalidField, "load_addr", base)),
            ([base, base, base - 1, 0, base], Wrong(.invalidField, "load_end_addr", base - 1)),
            ([base, base, base, 0, base], Wrong(.invalidField, "load_end_addr", base)),
            ([base, base, base + 97, 0, base], Wrong(.truncated, "load_end_addr", base + 97)),
            ([base, base, base + 96, base + 95, base], Wrong(.invalidField, "bss_end_addr", base + 95)),
            ([base, base, 0, base - 1, base], Wrong(.invalidField, "bss_end_addr", base - 1)),
            ([base, base, 0, 0, base - 1], Wrong(.entryOutsideImage, "entry_addr", base - 1)),
            ([base, base, 0, 0, base + 96], Wrong(.entryOutsideImage, "entry_addr", base + 96)),
            ([base, base, 0, 0xFFFF_FFFF, base], Wrong(.outsideMemory, "load_addr", base)),
            ([0xFFFF_FFF0, 0xFFFF_FFF0, 0, 0, base], Wrong(.outsideMemory, "load_addr", 0xFFFF_FFF0)),
        ] as [([UInt64], Wrong)] {
            #expect(wrong(kludge(addresses)) == expected)
        }
        #expect(wrong(kludge([base, base, 0, base + 96, base + 95])) == nil)
        #expect(wrong(HandMadeKernel.multiboot(flags: 0x1_0003, [base])) == Wrong(.truncated, "flags", 0x1_0003))
        let far = [UInt8](repeating: 0, count: 8176) + kludge([base, base, 0, 0, base])
        #expect(wrong(far) == Wrong(.truncated, "flags", 0x1_0003), "the addresses lie behind the first 8192 bytes")
    }

    @Test func `modules lie on pages behind the image, and what does not fit is told`() throws {
        var kernel = HandMadeKernel.multibootKernel()
        kernel.headers[0].memoryBytes = 0x1234
        let module = LaunchOptions.Module(text: [], bytes: [UInt8](repeating: 7, count: 5000))
        var options = LaunchOptions(modules: [module, module], memoryBytes: 2 << 20)
        let plan = try LaunchPlan(kernel.bytes, options)
        #expect(plan.regions(.module).map(\.address) == [0x10_2000, 0x10_4000])
        options.modules = [.init(text: [], bytes: [UInt8](repeating: 7, count: 1 << 20))]
        #expect(Wrong.of(kernel.bytes, options) == Wrong(.noRoom, "module 0", 1 << 20))
        options.memoryBytes = nil
        #expect(Wrong.of(kernel.bytes, options) == nil)
        options.modules = [LaunchOptions.Module](repeating: .init(text: [], bytes: []), count: 65)
        #expect(Wrong.of(kernel.bytes, options) == Wrong(.tooMany, "--module", 65))
        #expect(Wrong.of(kernel.bytes, LaunchOptions(modules: [.init(text: [0], bytes: [])]))?.field == "--module")
        let long = [UInt8](repeating: 0x41, count: LaunchOptions.textLimit)
        #expect(Wrong.of(kernel.bytes, LaunchOptions(commandLine: long)) == nil)
        #expect(Wrong.of(kernel.bytes, LaunchOptions(commandLine: long + [1])) == Wrong(.option, "--append", 65_536))
    }
}
