// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import GuestImage

@Suite struct ImageFormatTests {
    private func rom(_ end: [UInt8], count: Int = 0x1_0000) -> [UInt8] {
        [UInt8](repeating: 0xFF, count: count - 16) + end + [UInt8](repeating: 0, count: 16 - end.count)
    }

    @Test func `an image is what its bytes say`() {
        let code: [UInt8] = [0xB0, 0x34, 0xE6, 0xE9, 0xF4]
        let sector = code + [UInt8](repeating: 0, count: 505) + [0x55, 0xAA]
        #expect(ImageFormat(recognising: code) == .flat)
        #expect(ImageFormat(recognising: []) == .flat)
        #expect(ImageFormat(recognising: sector) == .bootSector)
        #expect(ImageFormat(recognising: sector + [0]) == .flat, "not one sector")
        #expect(ImageFormat(recognising: HandMadeKernel().bytes) == .elf)
        #expect(ImageFormat(recognising: HandMadeKernel(is32: true).bytes) == .elf)
        #expect(ImageFormat(recognising: HandMadeKernel.multibootKernel().bytes) == .multiboot)
        let note = HandMadeKernel.note(HandMadeKernel.number(0x10_0000, 4))
        #expect(ImageFormat(recognising: HandMadeKernel.noteKernel(note).bytes) == .pvh)
        #expect(ImageFormat(recognising: HandMadeKernel.noteKernel(note, is32: true).bytes) == .pvh)
        #expect(ImageFormat(recognising: HandMadeLinux().bytes) == .linux)
    }

    @Test func `a file that is wrong in something is what it was meant to be`() {
        #expect(ImageFormat(recognising: [0x7F, 0x45, 0x4C, 0x46]) == .elf)
        #expect(ImageFormat(recognising: HandMadeLinux().with(0x206, 0x200).bytes) == .linux)
        #expect(ImageFormat(recognising: HandMadeLinux().with(0x1FE, 0).bytes) == .flat)
        var notes = HandMadeKernel.noteKernel(HandMadeKernel.note([0, 0, 16, 0]))
        notes.headers[1].fileBytes = .max
        #expect(ImageFormat(recognising: notes.bytes) == .elf, "notes that cannot be read say nothing")
    }

    @Test func `a Multiboot header comes first, and counts only with its checksum and in its place`() {
        let header = HandMadeKernel.multiboot()
        let at = { (offset: Int) in ImageFormat(recognising: [UInt8](repeating: 0, count: offset) + header) }
        #expect(at(0) == .multiboot && at(8180) == .multiboot)
        #expect(at(8184) == .flat && at(2) == .flat)
        #expect(ImageFormat(recognising: header.dropLast() + [0]) == .flat)
        var both = HandMadeLinux().bytes
        both.replaceSubrange(0..<12, with: header)
        #expect(ImageFormat(recognising: both) == .multiboot)
    }

    @Test func `a ROM whose Multiboot header asks for the place of a ROM is a ROM`() {
        func image(loadingAt load: UInt32) -> [UInt8] {
            let flags: UInt32 = 1 << 16
            let words = [0x1BAD_B002, flags, 0 &- 0x1BAD_B002 &- flags, load, load, 0, 0, load]
            var image = rom([0xEB, 0xEE])
            image.replaceSubrange(0..<32, with: words.flatMap { HandMadeKernel.number(UInt64($0), 4) })
            return image
        }
        #expect(ImageFormat(recognising: image(loadingAt: 0xFFFF_0000)) == .rom)
        #expect(ImageFormat(recognising: image(loadingAt: 0x10_0000)) == .multiboot)
        var other = image(loadingAt: 0xFFFF_0000)
        other[other.count - 16] = 0xF4
        #expect(ImageFormat(recognising: other) == .multiboot)
    }

    @Test func `a ROM has its size and jumps at its end`() {
        for jump in [
            [0xEA, 0x5B, 0xE0, 0x00, 0xF0], [0xE9, 0x10, 0xFF], [0xEB, 0xEE], [0x90, 0x90, 0xE9, 0x5B, 0xFF],
            [0x0F, 0x09, 0xE9, 1], [0xFA, 0xFC, 0xEB, 0xFE],
            [0x0F, 0x20, 0xC0, 0xA8, 0x01, 0x74, 0x05, 0xE9, 0x28, 0xFF],
        ] as [[UInt8]] {
            #expect(ImageFormat(recognising: rom(jump)) == .rom, "\(jump)")
        }
        for other in [[0xE9], [0xF4], [0x90], [0x0F, 0x20, 0xC0, 0xE9, 1], []] as [[UInt8]] {
            #expect(ImageFormat(recognising: rom(other)) == .flat, "\(other)")
        }
        let jump: [UInt8] = [0xEA, 0x5B, 0xE0, 0x00, 0xF0]
        #expect(ImageFormat(recognising: rom(jump, count: 4 << 20)) == .rom)
        #expect(ImageFormat(recognising: rom(jump, count: (4 << 20) + 4096)) == .flat)
        #expect(ImageFormat(recognising: rom(jump, count: 0xF000)) == .flat)
        #expect(ImageFormat(recognising: rom(jump, count: 0x1_0800)) == .flat)
    }

    @Test func `names are those of the command line`() {
        #expect(
            ImageFormat.allCases.map(\.rawValue) == [
                "flat", "boot-sector", "rom", "elf", "multiboot", "pvh", "linux",
            ])
        #expect(ImageFormat.allCases.filter(\.isPlain) == [.flat, .bootSector])
    }
}
