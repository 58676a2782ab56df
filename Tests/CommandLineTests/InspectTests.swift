// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import GuestImage
import Testing

@testable import kvmjob

/// An image as a hexdump without its zeros, what is asked, and what `kvmjob inspect` prints.
struct InspectedImage: Sendable, CustomTestStringConvertible {
    let name: String
    let count: Int
    let bytes: [Int: String]
    var options = LaunchOptions()
    let text: String

    var testDescription: String { name }

    var image: [UInt8] {
        get throws {
            var image = [UInt8](repeating: 0, count: count)
            for (place, hex) in bytes {
                let part = try HexText.parse(hex)
                image.replaceSubrange(place..<place + part.count, with: part)
            }
            return image
        }
    }

    var inspection: ImageInspection {
        get throws {
            let image = try image
            return ImageInspection(
                name: "image", bytes: image,
                plan: Result { () throws(LaunchError) in try LaunchPlan(image, options) })
        }
    }
}

extension InspectedImage {
    static let all = [
        InspectedImage(
            name: "machine code without a header", count: 5,
            bytes: [
                0x0: "b034e6e9f4"
            ],
            text: """
                image: a flat image, 5 bytes

                format  flat
                start   real16, ring 0, at 0x1000
                memory  16 MiB, at least 1 MiB

                first instructions
                  0x1000  b0 34  mov al, 0x34
                  0x1002  e6 e9  out 0xe9, al
                  0x1004  f4     hlt

                ADDRESS               SIZE  KIND   WHAT
                00000000-00000fff    4 KiB  -      free
                00001000-00001004  5 bytes  image  image
                00001005-00ffffff   16 MiB  -      free

                """),
        InspectedImage(
            name: "a boot sector", count: 512,
            bytes: [
                0x0: "b034e6e9ebfc",
                0x1FE: "55aa",
            ],
            text: """
                image: a boot sector, 512 bytes

                format  boot-sector
                start   real16, ring 0, at 0x7c00
                memory  16 MiB, at least 1 MiB

                first instructions
                  0x7c00  b0 34  mov al, 0x34
                  0x7c02  e6 e9  out 0xe9, al
                  0x7c04  eb fc  jmp 0x7c02

                ADDRESS                 SIZE  KIND   WHAT
                00000000-00007bff     31 KiB  -      free
                00007c00-00007dff  512 bytes  image  image
                00007e00-00ffffff     16 MiB  -      free

                """),
        InspectedImage(
            name: "firmware", count: 65536,
            bytes: [
                0xFFF0: "ea5be000f0"
            ],
            text: """
                image: a ROM, 64 KiB

                format  rom
                start   real16, ring 0, at f000:fff0
                memory  16 MiB, at least 1 MiB
                rom     ffff0000-ffffffff, 64 KiB
                shadow  000f0000-000fffff, the ROM's last 64 KiB
                needs   memory that cannot be written, below 4 GiB
                needs   a PC's interrupt controllers and timers

                first instructions
                  0xfff0  ea 5b e0 00 f0  ljmp 0xf000:0xe05b

                ADDRESS              SIZE  KIND  WHAT
                00000000-00ffffff  16 MiB  -     free
                ffff0000-ffffffff  64 KiB  rom   image

                """),
        InspectedImage(
            name: "an ELF kernel for i386, started bare", count: 96,
            bytes: [
                0x0: "7f454c46010101",
                0x10: "02000300010000000000100034",
                0x28: "340020000100000000000000010000005400000000001000000010000c000000",
                0x48: "0c1000000700000004000000bc0000100031c0e6e9f4ebfd",
            ],
            text: """
                image: a bare ELF kernel, 96 bytes

                format     elf
                file       ELF32 for i386
                start      protected32, ring 0, at 0x100000
                registers  esp 0x11020
                tables     gdt 0x1000
                memory     16 MiB, at least 1032 KiB

                first instructions
                  0x100000  bc 00 00 10 00  mov esp, 0x100000
                  0x100005  31 c0           xor eax, eax
                  0x100007  e6 e9           out 0xe9, al
                  0x100009  f4              hlt

                ADDRESS                SIZE  KIND       WHAT
                00000000-00000fff     4 KiB  -          free
                00001000-00001017  24 bytes  structure  GDT
                00001020-0001101f    64 KiB  stack      stack
                00011020-000fffff   956 KiB  -          free
                00100000-0010000b  12 bytes  image      segment 0, rwx
                0010000c-0010100b     4 KiB  zeros      zeros of segment 0, rwx
                0010100c-00ffffff    15 MiB  -          free

                """),
        InspectedImage(
            name: "an ELF kernel for x86-64 that runs at high addresses", count: 188,
            bytes: [
                0x0: "7f454c46020101",
                0x10: "02003e000100000005000080ffffffff40",
                0x34: "4000380002000000000000000100000007000000b0",
                0x53: "80ffffffff00001000000000000c000000000000000c00000000000000040000",
                0x73: "00000000000100000007000000bc0000000000000000100080ffffffff001010",
                0xA1: "200000000000000400000000000000bc0000100031c0e6e9f4ebfd",
            ],
            text: """
                image: a bare ELF kernel, 188 bytes

                format     elf
                file       ELF64 for x86-64
                entry      0xffffffff80000005 by e_entry, 0x100005 in memory
                start      long64, ring 0, at 0x100005
                registers  rsp 0x18000
                tables     gdt 0x1000, cr3 0x2000
                memory     16 MiB, at least 1036 KiB

                first instructions
                  0x100005  31 c0  xor eax, eax
                  0x100007  e6 e9  out 0xe9, al
                  0x100009  f4     hlt
                  0x10000a  eb fd  jmp 0x100009

                ADDRESS                SIZE  KIND       WHAT
                00000000-00000fff     4 KiB  -          free
                00001000-00001017  24 bytes  structure  GDT
                00002000-00007fff    24 KiB  structure  page tables
                00008000-00017fff    64 KiB  stack      stack
                00018000-000fffff   928 KiB  -          free
                00100000-0010000b  12 bytes  image      segment 0, rwx
                00101000-00102fff     8 KiB  zeros      zeros of segment 1, rwx
                00103000-00ffffff    15 MiB  -          free

                """),
        InspectedImage(
            name: "a Multiboot kernel with a command line and a module", count: 108,
            bytes: [
                0x0: "7f454c46010101",
                0x10: "02000300010000000c00100034",
                0x28: "3400200001000000000000000100000054000000000010000000100018000000",
                0x48: "58000000070000000400000002b0ad1b03000000fb4f52e4bc0000100031c0e6",
                0x68: "e9f4ebfd",
            ],
            options: LaunchOptions(
                commandLine: Array("a=1 b".utf8), modules: [.init(text: Array("m".utf8), bytes: [1, 2, 3])],
                memoryBytes: 4 << 20),
            text: """
                image: a Multiboot kernel, 108 bytes

                format     multiboot
                header     Multiboot 1, at byte 84, flags 0x3
                file       ELF32 for i386
                start      protected32, ring 0, at 0x10000c
                registers  eax 0x2badb002, ebx 0x10a0
                tables     gdt 0x1000
                memory     4 MiB, at least 1032 KiB

                first instructions
                  0x10000c  bc 00 00 10 00  mov esp, 0x100000
                  0x100011  31 c0           xor eax, eax
                  0x100013  e6 e9           out 0xe9, al
                  0x100015  f4              hlt

                ADDRESS                 SIZE  KIND       WHAT
                00000000-00000fff      4 KiB  -          free
                00001000-00001017   24 bytes  structure  GDT
                00001018-00001019    2 bytes  text       text of module 0
                0000101a-0000101f    6 bytes  text       command line
                00001020-0000102f   16 bytes  structure  module list
                00001030-00001036    7 bytes  text       boot loader's name
                00001040-0000109f   96 bytes  structure  memory map
                000010a0-00001113  116 bytes  structure  Multiboot information
                00001114-000fffff   1020 KiB  -          free
                00100000-00100017   24 bytes  image      segment 0, rwx
                00100018-00100057   64 bytes  zeros      zeros of segment 0, rwx
                00101000-00101002    3 bytes  module     module 0
                00101003-003fffff      3 MiB  -          free

                """),
        InspectedImage(
            name: "a Multiboot kernel without an ELF header", count: 44,
            bytes: [
                0x0: "02b0ad1b03000100fb4f51e40000100000001000000000000020100020001000",
                0x20: "bc0000100031c0e6e9f4ebfd",
            ],
            text: """
                image: a Multiboot kernel, 44 bytes

                format     multiboot
                header     Multiboot 1, at byte 0, flags 0x10003
                file       loaded by the addresses of the Multiboot header
                start      protected32, ring 0, at 0x100020
                registers  eax 0x2badb002, ebx 0x1080
                tables     gdt 0x1000
                memory     16 MiB, at least 1032 KiB

                first instructions
                  0x100020  bc 00 00 10 00  mov esp, 0x100000
                  0x100025  31 c0           xor eax, eax
                  0x100027  e6 e9           out 0xe9, al
                  0x100029  f4              hlt

                ADDRESS                 SIZE  KIND       WHAT
                00000000-00000fff      4 KiB  -          free
                00001000-00001017   24 bytes  structure  GDT
                00001018-00001018     1 byte  text       command line
                00001019-0000101f    7 bytes  text       boot loader's name
                00001020-0000107f   96 bytes  structure  memory map
                00001080-000010f3  116 bytes  structure  Multiboot information
                000010f4-000fffff   1020 KiB  -          free
                00100000-0010002b   44 bytes  image      image
                0010002c-00101fff      8 KiB  zeros      zeros of image
                00102000-00ffffff     15 MiB  -          free

                """),
        InspectedImage(
            name: "a PVH kernel", count: 212,
            bytes: [
                0x0: "7f454c46020101",
                0x10: "02003e0001000000000010000000000040",
                0x34: "4000380002000000000000000100000007000000b0",
                0x52: "10000000000000001000000000000c000000000000004c000000000000000400",
                0x72: "0000000000000400000007000000bc",
                0x98: "180000000000000018000000000000000400000000000000bc0000100031c0e6",
                0xB8: "e9f4ebfd04000000080000001200000058656e00000010",
            ],
            text: """
                image: a PVH kernel, 212 bytes

                format     pvh
                header     XEN_ELFNOTE_PHYS32_ENTRY, at byte 204
                file       ELF64 for x86-64
                start      protected32, ring 0, at 0x100000
                registers  ebx 0x1080
                tables     gdt 0x1000
                memory     16 MiB, at least 1028 KiB

                first instructions
                  0x100000  bc 00 00 10 00  mov esp, 0x100000
                  0x100005  31 c0           xor eax, eax
                  0x100007  e6 e9           out 0xe9, al
                  0x100009  f4              hlt

                ADDRESS                SIZE  KIND       WHAT
                00000000-00000fff     4 KiB  -          free
                00001000-00001017  24 bytes  structure  GDT
                00001018-00001018    1 byte  text       command line
                00001020-0000107f  96 bytes  structure  memory map
                00001080-000010b7  56 bytes  structure  hvm_start_info
                000010b8-000fffff  1020 KiB  -          free
                00100000-0010000b  12 bytes  image      segment 0, rwx
                0010000c-0010004b  64 bytes  zeros      zeros of segment 0, rwx
                0010004c-00ffffff    15 MiB  -          free

                """),
        InspectedImage(
            name: "Linux", count: 2048,
            bytes: [
                0x1F1: "01000040",
                0x1FE: "55aaeb6a486472530f0200000000000080010001",
                0x22C: "ffffff7f0000200001150100ff07",
                0x25B: "0100000000000002",
                0x380: "362e312e302078",
            ],
            options: LaunchOptions(commandLine: Array("console=ttyS0".utf8)),
            text: """
                image: a Linux kernel, 2 KiB

                format     linux
                header     boot protocol 2.15, 64-bit entry, relocatable
                kernel     Linux 6.1.0
                start      long64, ring 0, at 0x1000200
                registers  rsi 0x8000
                tables     gdt 0x1000, cr3 0x2000
                memory     256 MiB, at least 16512 KiB
                needs      a PC's interrupt controllers and timers

                first instructions
                  0x1000200  00 00  add byte ptr [rax], al
                  0x1000202  00 00  add byte ptr [rax], al
                  0x1000204  00 00  add byte ptr [rax], al
                  0x1000206  00 00  add byte ptr [rax], al

                ADDRESS                SIZE  KIND       WHAT
                00000000-00000fff     4 KiB  -          free
                00001000-0000101f  32 bytes  structure  GDT
                00001020-0000102d  14 bytes  text       command line
                00002000-00007fff    24 KiB  structure  page tables
                00008000-00008fff     4 KiB  structure  boot_params
                00009000-00ffffff    16 MiB  -          free
                01000000-010003ff     1 KiB  image      kernel
                01000400-0101ffff   127 KiB  workspace  room to unpack
                01020000-0fffffff   240 MiB  -          free

                """),
        InspectedImage(
            name: "a segment of 2^64 - 1 bytes", count: 132,
            bytes: [
                0x0: "7f454c46020101",
                0x10: "02003e0001000000000010000000000040",
                0x34: "400038000100000000000000010000000700000078",
                0x52: "10000000000000001000000000000c00000000000000ffffffffffffffff0400",
                0x72: "000000000000bc0000100031c0e6e9f4ebfd",
            ],
            text: """
                image: cannot be started

                rule   outside-memory
                field  p_memsz
                value  0xffffffffffffffff (18446744073709551615)
                place  byte 64 of the file

                the segment of 18446744073709551615 bytes at 0x100000 must end at or below 0x40000000

                """),
        InspectedImage(
            name: "segments one over the other", count: 140,
            bytes: [
                0x0: "7f454c46010101",
                0x10: "02000300010000000000100034",
                0x28: "340020000200000000000000010000007400000000001000000010000c000000",
                0x48: "0c01000007000000040000000100000080000000ff001000ff0010000c000000",
                0x68: "0c0000000700000004000000bc0000100031c0e6e9f4ebfdbc0000100031c0e6",
                0x88: "e9f4ebfd",
            ],
            text: """
                image: cannot be started

                rule   overlap
                field  p_paddr
                value  0x1000ff (1048831)
                place  byte 84 of the file

                segment 1, rwx, 12 bytes at 0x1000ff, covers zeros of segment 0, rwx at 0x10000c

                """),
        InspectedImage(
            name: "an entry in no segment", count: 132,
            bytes: [
                0x0: "7f454c46020101",
                0x10: "02003e0001000000ffff0f000000000040",
                0x34: "400038000100000000000000010000000700000078",
                0x52: "10000000000000001000000000000c000000000000000c000000000000000400",
                0x72: "000000000000bc0000100031c0e6e9f4ebfd",
            ],
            text: """
                image: cannot be started

                rule   entry-outside-image
                field  e_entry
                value  0xfffff (1048575)
                place  byte 24 of the file

                the first instruction is in none of the segments, by their virtual addresses or by their \
                physical ones

                """),
        InspectedImage(
            name: "a file that was cut short", count: 100,
            bytes: [
                0x0: "7f454c46020101",
                0x10: "02003e0001000000000010000000000040",
                0x34: "400038000100000000000000010000000700000078",
                0x52: "10000000000000001000000000000c",
            ],
            text: """
                image: cannot be started

                rule   truncated
                field  e_phnum
                value  0x1 (1)
                place  byte 64 of the file

                the table of program headers is 56 bytes at 0x40, and the file has 100 bytes in all

                """),
        InspectedImage(
            name: "a note of 2^32 - 1 bytes", count: 144,
            bytes: [
                0x0: "7f454c46010101",
                0x10: "02000300010000000000100034",
                0x28: "340020000200000000000000010000007400000000001000000010000c000000",
                0x48: "0c00000007000000040000000400000080",
                0x64: "10000000100000000700000004000000bc0000100031c0e6e9f4ebfd04000000",
                0x84: "ffffffff1200000058656e",
            ],
            options: LaunchOptions(format: .pvh),
            text: """
                image: cannot be started

                rule   invalid-field
                field  n_descsz
                value  0xffffffff (4294967295)
                place  byte 132 of the file

                the note's descriptor ends behind its segment

                """),
    ]
}

@Suite struct InspectTests {
    @Test(arguments: InspectedImage.all)
    func `what an image is, where it goes and how it starts`(image: InspectedImage) throws {
        let inspection = try image.inspection
        #expect(inspection.text == image.text)
        #expect(inspection.status == (image.text.contains("cannot be started") ? ExitStatus.cannotRun : 0))
    }

    @Test func `as JSON, a plan has all its parts`() throws {
        let image = try #require(InspectedImage.all.first { $0.name == "an ELF kernel for i386, started bare" })
        #expect(
            String(decoding: try image.inspection.json.bytes, as: UTF8.self) == """
                {"image":"image","bytes":96,"format":"elf","mode":"protected32","entry":"0x100000","registers":\
                {"rsp":"0x11020"},"segments":{"tr":{"base":"0x0","limit":"0x67","selector":"0x0","attributes":\
                "0x8b"}},"tables":{"gdt":{"base":"0x1000","limit":"0x17"}},"controls":{"cr0":"0x11","cr4":\
                "0x0"},"memory_bytes":16777216,"least_memory_bytes":1056768,"needs":[],"facts":[{"name":"file",\
                "text":"ELF32 for i386"}],"notes":[],"map":[{"address":"0x1000","bytes":24,"kind":"structure",\
                "name":"GDT","filled":true},{"address":"0x1020","bytes":65536,"kind":"stack","name":"stack",\
                "filled":false},{"address":"0x100000","bytes":12,"kind":"image","name":"segment 0, rwx",\
                "filled":true},{"address":"0x10000c","bytes":4096,"kind":"zeros","name":"zeros of segment 0,\
                 rwx","filled":false}],"rom":null}
                """)
    }

    @Test func `as JSON, what is wrong has a field and a value`() throws {
        let image = try #require(InspectedImage.all.first { $0.name == "a segment of 2^64 - 1 bytes" })
        #expect(
            String(decoding: try image.inspection.json.bytes, as: UTF8.self) == """
                {"image":"image","bytes":132,"error":{"rule":"outside-memory","field":"p_memsz","value":\
                "0xffffffffffffffff","offset":64,"message":\
                "the segment of 18446744073709551615 bytes at 0x100000 must end at or below 0x40000000"}}
                """)
    }

    @Test func `firmware is told with its shadow`() throws {
        let image = try #require(InspectedImage.all.first { $0.name == "firmware" })
        let json = String(decoding: try image.inspection.json.bytes, as: UTF8.self)
        let rom = #""rom":{"address":"0xffff0000","bytes":65536,"shadow_address":"0xf0000","shadow_bytes":65536}"#
        #expect(json.contains(rom) && json.contains(#""needs":["read-only-memory","pc-board"]"#))
    }

    @Test func `the options say which memory and format`() throws {
        let command = try InspectCommand.parse(["a", "--format", "pvh", "--memory", "2MiB", "--initrd", "b", "--json"])
        #expect(command.options.format == .pvh && command.memory == 2 << 20 && command.options.module == ["b"])
        for (words, reason) in [
            (["a", "--format", "exe"], "boot-sector"), ([], "image"), (["a", "--memory", "x"], "number"),
        ] {
            let error = #expect(throws: (any Error).self) { try InspectCommand.parse(words) }
            if let error { #expect(InspectCommand.fullMessage(for: error).contains(reason)) }
        }
    }
}
