// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import kvmjob

@Suite struct ValueTests {
    @Test(arguments: [
        ("0", UInt64(0)), ("4096", 4096), ("0x10", 16), ("0XfF", 255), ("18446744073709551615", UInt64.max),
    ])
    func `a number is decimal, or hexadecimal behind 0x`(text: String, number: UInt64) throws {
        #expect(try WholeNumber.parse(text) == number)
    }

    @Test(arguments: [
        "", "0x", "-1", "+1", "1_000", " 1", "ff", "1.5", "18446744073709551616", "0x10000000000000000", "١",
    ])
    func `what is not a number of 64 bits is refused`(text: String) {
        #expect(throws: ValueError.self) { try WholeNumber.parse(text) }
    }

    @Test(arguments: [
        ("7ns", Duration.nanoseconds(7)), ("5us", .microseconds(5)), ("300ms", .milliseconds(300)),
        ("10s", .seconds(10)), ("2m", .seconds(120)), ("1h", .seconds(3600)),
        ("9223372036854775807ns", .nanoseconds(Int64.max)),
    ])
    func `a duration is a whole number and its unit`(text: String, duration: Duration) throws {
        #expect(try DurationText.parse(text) == duration)
    }

    @Test(arguments: [
        ("10", "no unit"), ("10sec", "\"sec\" is not a unit"), ("s", "not a number"), ("-1s", "not a number"),
        ("1.5s", "\".5s\" is not a unit"), ("0x10s", "not a number"), ("9223372036854775808ns", "292 years"),
        ("18446744073709551615h", "292 years"),
    ])
    func `a wrong duration is told what would be right`(text: String, reason: String) {
        let error = #expect(throws: ValueError.self) { try DurationText.parse(text) }
        #expect(error?.description.contains(reason) == true)
    }

    @Test(arguments: [
        (UInt64(0), "0 ns"), (999, "999 ns"), (1000, "1 us"), (1250, "1.2 us"), (99_999, "99.9 us"),
        (123_456, "123 us"),
        (1_050_000, "1 ms"), (10_000_000_000, "10 s"), (UInt64.max, "18446744073 s"),
    ])
    func `a duration is told with a decimal below 100`(nanoseconds: UInt64, text: String) {
        #expect(DurationText.describe(nanoseconds: nanoseconds) == text)
    }

    @Test(arguments: [
        ("4096", UInt64(4096)), ("0x1000", 4096), ("64KiB", 65_536), ("16MiB", 16 << 20), ("1GiB", UInt64(1) << 30),
    ])
    func `a size is bytes, or a whole number and a binary unit`(text: String, bytes: UInt64) throws {
        #expect(try SizeText.parse(text) == bytes)
    }

    @Test(arguments: ["16M", "16MB", "16 MiB", "MiB", "-1", "17179869184GiB"])
    func `a wrong size is refused`(text: String) {
        #expect(throws: ValueError.self) { try SizeText.parse(text) }
    }

    @Test(arguments: [
        (UInt64(0), "0 bytes"), (1, "1 byte"), (4097, "4097 bytes"), (65_536, "64 KiB"), (16 << 20, "16 MiB"),
    ])
    func `a size is told in the unit that leaves no rest`(bytes: UInt64, text: String) {
        #expect(SizeText.describe(bytes) == text)
    }
}

@Suite struct RegisterAssignmentTests {
    @Test(arguments: [
        ("rax=0xffffffffffffffff", RegisterName.rax, UInt64.max), ("EAX=1", .rax, 1), ("ax=0xffff", .rax, 0xFFFF),
        ("al=255", .rax, 255), ("sil=1", .rsi, 1), ("sp=0x7c00", .rsp, 0x7C00), ("spl=2", .rsp, 2), ("r8=1", .r8, 1),
        ("r8d=0xffffffff", .r8, 0xFFFF_FFFF), ("r15w=3", .r15, 3), ("r15b=4", .r15, 4),
        ("rflags=0x202", .rflags, 0x202),
        ("flags=2", .rflags, 2),
    ])
    func `a register is set by any of its names`(text: String, register: RegisterName, value: UInt64) throws {
        let assignment = try RegisterAssignment(argument: text)
        #expect(assignment.target == .register(register) && assignment.value == value)
    }

    @Test(arguments: [
        ("ip=0x7c00", RegisterAssignment.Target.entryPoint, UInt64(0x7C00)), ("rip=1", .entryPoint, 1),
        ("ds=0xffff", .segment(.ds, .whole), 0xFFFF), ("cs.sel=8", .segment(.cs, .selector), 8),
        ("FS.base=0xffff800000000000", .segment(.fs, .base), 0xFFFF_8000_0000_0000),
        ("ss.limit=0xffffffff", .segment(.ss, .limit), 0xFFFF_FFFF), ("tr.attr=0x8b", .segment(.tr, .attributes), 0x8B),
        ("gdt.base=0x1000", .table(.gdt, .base), 0x1000), ("idt.limit=0x3ff", .table(.idt, .limit), 0x3FF),
        ("cr0=0x11", .control(.cr0), 0x11), ("cr8=15", .control(.cr8), 15), ("efer=0x500", .control(.efer), 0x500),
    ])
    func `system registers are set whole or in parts`(text: String, target: RegisterAssignment.Target, value: UInt64)
        throws
    {
        let assignment = try RegisterAssignment(argument: text)
        #expect(assignment.target == target && assignment.value == value)
    }

    @Test(arguments: [
        "eax=0x100000000", "ax=65536", "al=256", "dil=256", "r9d=0x100000000", "r9w=65536", "r9b=256", "ip=65536",
        "ds=65536", "ds.sel=65536", "ds.limit=0x100000000", "ds.attr=0x2000", "gdt.limit=65536",
    ])
    func `a value has to fit the name that it is given to`(text: String) {
        let error = #expect(throws: ValueError.self) { try RegisterAssignment(argument: text) }
        #expect(error?.description.contains("does not fit in") == true)
    }

    @Test(arguments: [
        "ax", "ax=", "=1", "ah=1", "r16=1", "ax=two", "cr1=1", "cr5=1", "ds.=1", "ds.type=1", "gdt=1", "gdt.attr=1",
        "ax.base=1", ".base=1", "ds.base.=1",
    ])
    func `what is no assignment is refused`(text: String) {
        #expect(throws: ValueError.self) { try RegisterAssignment(argument: text) }
    }
}

@Suite struct ProcessorStateTests {
    private func state(_ mode: GuestMode, _ texts: String...) throws -> ProcessorState {
        try ProcessorState(texts.map(RegisterAssignment.init(argument:)), mode: mode)
    }

    @Test func `two names of one register cannot both be set`() throws {
        let error = #expect(throws: ValueError.self) { try state(.real16, "al=1", "bx=2", "rax=3") }
        #expect(error?.description.contains("rax is set twice") == true)
        #expect(throws: ValueError.self) { try state(.real16, "ip=1", "eip=1") }
        #expect(try state(.real16, "bx=2", "rax=3", "ip=4").registers == [.rbx: 2, .rax: 3])
        #expect(try state(.real16, "eip=0x1234").entryPoint == 0x1234)
    }

    @Test func `in real mode a selector brings its base along, unless that is set too`() throws {
        let data = SegmentAttributes(type: 3, s: true)
        let code = SegmentAttributes(type: 11, s: true)
        #expect(
            try state(.real16, "ds=0x1000", "cs=0xffff").segments == [
                .ds: Segment(base: 0x1_0000, limit: 0xFFFF, selector: 0x1000, attributes: data),
                .cs: Segment(base: 0xF_FFF0, limit: 0xFFFF, selector: 0xFFFF, attributes: code),
            ])
        let base = Segment(base: 5, limit: 0xFFFF, selector: 0x1000, attributes: data)
        #expect(try state(.real16, "ds.base=5", "ds=0x1000").segments == [.ds: base])
    }

    @Test(arguments: [(GuestMode.protected32, "ds=0x10"), (.long64, "fs=0"), (.user64, "gs=0"), (.real16, "tr=8")])
    func `elsewhere a selector alone says too little`(mode: GuestMode, text: String) {
        let error = #expect(throws: ValueError.self) { try state(mode, text) }
        #expect(error?.description.contains(".base") == true)
    }

    @Test func `parts that are not set are those of the mode`() throws {
        let segment = try #require(try state(.user64, "fs.base=0x1000").segments[.fs])
        #expect(
            segment.base == 0x1000 && segment.selector == 0x23 && segment.limit == .max && segment.attributes.dpl == 3)
        let flat = try #require(try state(.protected32, "es.limit=0xfff", "es.attr=0x93").segments[.es])
        #expect(flat == Segment(base: 0, limit: 0xFFF, selector: 0x10, attributes: .init(rawValue: 0x93)))
        #expect(try state(.long64, "gdt.base=0x5000").tables == [.gdt: DescriptorTable(base: 0x5000, limit: 63)])
        #expect(try state(.real16, "idt.base=0x5000", "idt.limit=7").tables == [.idt: .init(base: 0x5000, limit: 7)])
        #expect(try state(.long64, "cr3=0x1000", "efer=0xd00").controls == [.cr3: 0x1000, .efer: 0xD00])
    }
}

@Suite struct HexTextTests {
    @Test(arguments: ["b034e6F4", "b0 34 e6 f4", " 0xb0,0x34, e6f4\n", "0Xb034e6 f4"])
    func `bytes may be written in groups`(text: String) throws {
        #expect(try HexText.parse(text) == [0xB0, 0x34, 0xE6, 0xF4])
    }

    @Test func `nothing is no bytes`() throws {
        #expect(try HexText.parse(" ").isEmpty)
    }

    @Test(arguments: [("b0 3 f4", "\"3\" behind byte 1"), ("b0 0x", "behind byte 1"), ("b0 zz", "\"z\" behind byte 1")])
    func `wrong digits are told with their place`(text: String, reason: String) {
        let error = #expect(throws: ValueError.self) { try HexText.parse(text) }
        #expect(error?.description.contains(reason) == true)
    }
}
