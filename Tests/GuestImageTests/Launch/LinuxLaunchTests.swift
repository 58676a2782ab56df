// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import GuestImage

@Suite struct LinuxLaunchTests {
    private func wrong(_ kernel: HandMadeLinux, memory: UInt64? = nil) -> Wrong? {
        Wrong.of(kernel.bytes, as: .linux, memory: memory)
    }

    @Test func `a kernel starts at its 64-bit entry, by the protocol's selectors, with boot_params`() throws {
        let image = HandMadeLinux().bytes
        let plan = try LaunchPlan(image)
        #expect(plan.format == .linux && plan.mode == .long64 && plan.memoryBytes == 256 << 20)
        #expect(plan.entryPoint == 0x100_0200 && plan.needs == [.board])
        #expect(plan.segments[.cs]?.selector == 0x10 && plan.segments[.cs]?.attributes.l == true)
        for name in [SegmentName.ds, .es, .ss] { #expect(plan.segments[name]?.selector == 0x18) }
        let gdt = try #require(plan.tables[.gdt])
        #expect(plan.long(at: gdt.base + 0x10) == 0x00AF_9B00_0000_FFFF && gdt.limit == 31)
        #expect(plan.long(at: gdt.base + 0x18) == 0x00CF_9300_0000_FFFF)
        #expect(plan.regions(.image).first?.bytes == image[1024...])
        let room = try #require(plan.regions(.workspace).first)
        #expect(room.address == 0x100_0400 && room.end == 0x102_0000)
        #expect(plan.facts.contains(.init("kernel", "Linux 6.1.0-x")))
    }

    @Test func `boot_params has the file's own header and what a boot loader fills in`() throws {
        let image = HandMadeLinux().bytes
        var options = LaunchOptions(commandLine: Array("console=ttyS0".utf8), memoryBytes: 64 << 20)
        options.modules = [.init(text: [], bytes: [1, 2, 3, 4, 5]), .init(text: [], bytes: [6])]
        let plan = try LaunchPlan(image, options)
        let page = try #require(plan.registers[.rsi])
        #expect(page % 4096 == 0 && plan.map.region(at: page)?.count == 4096)
        #expect(plan.word(at: page + 0x202) == 0x5372_6448 && plan.number(at: page + 0x206, bytes: 2) == 0x20F)
        #expect(plan.word(at: page + 0x260) == 0x2_0000 && plan.byte(at: page + 0x210) == 0xFF)
        #expect(plan.number(at: page + 0x1FA, bytes: 2) == 0xFFFF)
        #expect(plan.text(at: plan.word(at: page + 0x228)) == "console=ttyS0")
        #expect([0xC0, 0xC4, 0xC8].allSatisfy { plan.word(at: page + $0) == 0 })
        let disk = plan.word(at: page + 0x218)
        #expect(plan.word(at: page + 0x21C) == 12 && disk == (64 << 20) - 4096, "the highest page")
        #expect(plan.long(at: disk) == 0x05_0403_0201 && plan.word(at: disk + 8) == 6, "filled up to whole words")
        #expect(plan.byte(at: page + 0x1E8) == 4)
        let range = page + 0x2D0 + 3 * 20
        #expect(
            plan.long(at: range) == 0x10_0000 && plan.long(at: range + 8) == 63 << 20 && plan.word(at: range + 16) == 1)
        #expect(plan.leastMemoryBytes == 0x102_0000 + 4096)
    }

    @Test func `a disk stays below the kernel's limit`() throws {
        let kernel = HandMadeLinux().with(0x22C, 0x1FF_FFFF)
        let options = LaunchOptions(modules: [.init(text: [], bytes: [1])], memoryBytes: 64 << 20)
        let plan = try LaunchPlan(kernel.bytes, options)
        #expect(plan.regions(.module).first?.address == 0x1FF_F000)
        let low = HandMadeLinux().with(0x22C, 0xF_FFFF)
        #expect(Wrong.of(low.bytes, options) == Wrong(.noRoom, "initial RAM disk", 1))
        let most = HandMadeLinux().with(0x22C, 0xFFFF_FFFF)
        #expect(try LaunchPlan(most.bytes, options).regions(.module).first?.address == (64 << 20) - 4096)
    }

    @Test func `a kernel that can be elsewhere is put where it fits`() throws {
        #expect(try LaunchPlan(HandMadeLinux().bytes, LaunchOptions(memoryBytes: 4 << 20)).entryPoint == 0x20_0200)
        let fixed = HandMadeLinux().with(0x234, 0)
        #expect(wrong(fixed, memory: 4 << 20) == Wrong(.outsideMemory, "pref_address", 0x100_0000))
        #expect(wrong(fixed.with(0x258, 0x1000)) == Wrong(.invalidField, "pref_address", 0x1000))
        #expect(wrong(fixed.with(0x258, .max)) == Wrong(.outsideMemory, "pref_address", .max))
        #expect(wrong(HandMadeLinux().with(0x260, 0xFFFF_FFFF)) == Wrong(.outsideMemory, "init_size", 0xFFFF_FFFF))
        #expect(try LaunchPlan(HandMadeLinux().with(0x258, .max).bytes).entryPoint == 0x20_0200)
    }

    @Test func `each field of the header is checked`() {
        for (place, value, expected) in [
            (0x206, 0x20B, Wrong(.unsupported, "version", 0x20B)), (0x211, 0, Wrong(.unsupported, "loadflags", 0)),
            (0x236, 2, Wrong(.unsupported, "xloadflags", 2)), (0x200, 0xEB, Wrong(.invalidField, "jump", 0)),
            (0x200, 0x61EB, Wrong(.invalidField, "jump", 0x61)), (0x200, 0x8FEB, Wrong(.invalidField, "jump", 0x8F)),
            (0x1F1, 200, Wrong(.truncated, "setup_sects", 200)), (0x1F1, 0, Wrong(.truncated, "setup_sects", 0)),
            (0x1F4, 65, Wrong(.truncated, "syssize", 65)),
            (0x1F4, 0xFFFF_FFFF, Wrong(.truncated, "syssize", 0xFFFF_FFFF)),
            (0x230, 0, Wrong(.invalidField, "kernel_alignment", 0)),
            (0x230, 0x3000, Wrong(.invalidField, "kernel_alignment", 0x3000)),
            (0x260, 1023, Wrong(.invalidField, "init_size", 1023)), (0x202, 0, Wrong(.otherFormat, "header", 0)),
            (0x1FE, 0, Wrong(.otherFormat, "header", 0x5372_6448)),
        ] as [(Int, UInt64, Wrong)] {
            #expect(wrong(HandMadeLinux().with(place, value)) == expected, "byte \(place)")
        }
        #expect(wrong(HandMadeLinux().with(0x20E, 0xFFFF)) == nil, "a release that is not there")
        #expect(wrong(HandMadeLinux(count: 0x262)) == Wrong(.truncated, "jump", 0x6A))
    }

    @Test func `a command line is no longer than the kernel takes`() {
        let kernel = HandMadeLinux().with(0x238, 4).bytes
        #expect(Wrong.of(kernel, LaunchOptions(commandLine: Array("abcd".utf8))) == nil)
        #expect(Wrong.of(kernel, LaunchOptions(commandLine: Array("abcde".utf8))) == Wrong(.option, "--append", 5))
    }
}
