// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import GuestImage

@Suite struct PVHLaunchTests {
    private let entry = HandMadeKernel.note(HandMadeKernel.number(0x10_0002, 4))

    private func wrong(_ kernel: HandMadeKernel) -> Wrong? { Wrong.of(kernel.bytes, as: .pvh) }

    @Test(arguments: [true, false])
    func `a kernel starts where its note says, in protected mode, with hvm_start_info`(is32: Bool) throws {
        let plan = try LaunchPlan(HandMadeKernel.noteKernel(entry, is32: is32).bytes)
        #expect(plan.format == .pvh && plan.mode == .protected32 && plan.entryPoint == 0x10_0002)
        #expect(plan.controls == [.cr0: 0x11, .cr4: 0] && plan.registers.keys.elementsEqual([.rbx]))
        #expect(plan.segments[.tr] == Segment(base: 0, limit: 0x67, selector: 0, attributes: .init(type: 11, s: false)))
        let wide = HandMadeKernel.note(HandMadeKernel.number(0x10_0002, 8))
        #expect(try LaunchPlan(HandMadeKernel.noteKernel(wide, is32: is32).bytes).entryPoint == 0x10_0002)
    }

    @Test func `hvm_start_info says what there is`() throws {
        var options = LaunchOptions(commandLine: Array("console=x".utf8), memoryBytes: 4 << 20)
        options.modules = [.init(text: Array("disk".utf8), bytes: [9, 8])]
        let plan = try LaunchPlan(HandMadeKernel.noteKernel(entry).bytes, options)
        let place = try #require(plan.registers[.rbx])
        #expect(plan.word(at: place) == 0x336E_C578 && plan.word(at: place + 4) == 1 && plan.word(at: place + 8) == 0)
        #expect(plan.word(at: place + 12) == 1 && plan.long(at: place + 32) == 0, "no ACPI tables")
        #expect(plan.text(at: plan.long(at: place + 24)) == "console=x")
        let module = plan.long(at: place + 16)
        #expect(plan.long(at: module + 8) == 2 && plan.text(at: plan.long(at: module + 16)) == "disk")
        #expect(plan.number(at: plan.long(at: module), bytes: 2) == 0x0809)
        #expect(plan.word(at: place + 48) == 4)
        let range = plan.long(at: place + 40) + 3 * 24
        #expect(
            plan.long(at: range) == 0x10_0000 && plan.long(at: range + 8) == 3 << 20 && plan.word(at: range + 16) == 1)
    }

    @Test func `other notes are passed over, by name and by type`() throws {
        let others =
            HandMadeKernel.note([1, 2, 3], name: Array("GNU\0".utf8)) + HandMadeKernel.note([], type: 5)
            + HandMadeKernel.note([], name: [], type: 18) + HandMadeKernel.note([7], name: [0x58])
        #expect(try LaunchPlan(HandMadeKernel.noteKernel(others + entry).bytes).entryPoint == 0x10_0002)
        #expect(wrong(HandMadeKernel.noteKernel(others)) == Wrong(.otherFormat, "XEN_ELFNOTE_PHYS32_ENTRY"))
        #expect(wrong(HandMadeKernel()) == Wrong(.otherFormat, "XEN_ELFNOTE_PHYS32_ENTRY"))
        #expect(wrong(HandMadeKernel.noteKernel(Array(entry.prefix(11))))?.rule == .otherFormat, "less than a note")
    }

    @Test func `notes that end behind their segment are refused`() {
        let at = { (offset: Int, value: UInt64) in
            self.wrong(HandMadeKernel.noteKernel(self.entry).patched(0x240 + offset, 4, value))
        }
        #expect(at(0, 0xFFFF_FFFF) == Wrong(.invalidField, "n_namesz", 0xFFFF_FFFF))
        #expect(at(4, 0xFFFF_FFFF) == Wrong(.invalidField, "n_descsz", 0xFFFF_FFFF))
        #expect(at(0, 9) == Wrong(.invalidField, "n_namesz", 9))
        #expect(at(4, 5) == Wrong(.invalidField, "n_descsz", 5))
        #expect(at(4, 3) == Wrong(.invalidField, "n_descsz", 3), "no address")
        var kernel = HandMadeKernel.noteKernel(entry)
        kernel.headers[1].fileBytes = .max
        #expect(wrong(kernel) == Wrong(.truncated, "p_filesz", .max))
        kernel.headers[1].fileBytes = UInt64(entry.count)
        kernel.headers[1].offset = .max
        #expect(wrong(kernel) == Wrong(.truncated, "p_offset", .max))
        let many = [UInt8](repeating: 0, count: Int(KernelFile.noteLimit) + 4)
        #expect(wrong(HandMadeKernel.noteKernel(many)) == Wrong(.tooMany, "p_filesz", KernelFile.noteLimit + 4))
    }

    @Test func `notes aligned to eight bytes are read so`() throws {
        let name = Array("GNU\0".utf8)
        // Header and name are 16 bytes; 4 of descriptor are filled up to 8.
        let first = HandMadeKernel.note([1, 2, 3, 4], name: name) + [0, 0, 0, 0]
        var kernel = HandMadeKernel.noteKernel(first + entry)
        kernel.headers[1].alignment = 8
        #expect(try LaunchPlan(kernel.bytes).entryPoint == 0x10_0002)
    }

    @Test func `the entry is in a segment`() {
        for value in [0, 0x0F_FFFF, 0x10_0010, 0xFFFF_FFFF] as [UInt64] {
            let note = HandMadeKernel.note(HandMadeKernel.number(value, 4))
            #expect(
                wrong(HandMadeKernel.noteKernel(note))
                    == Wrong(.entryOutsideImage, "XEN_ELFNOTE_PHYS32_ENTRY", value))
        }
        let most = HandMadeKernel.note(HandMadeKernel.number(.max, 8))
        #expect(wrong(HandMadeKernel.noteKernel(most))?.value == .max)
    }
}
