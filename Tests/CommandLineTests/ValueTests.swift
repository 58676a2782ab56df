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
        #expect(assignment.register == register && assignment.value == value)
    }

    @Test(arguments: ["eax=0x100000000", "ax=65536", "al=256", "dil=256", "r9d=0x100000000", "r9w=65536", "r9b=256"])
    func `a value has to fit the name that it is given to`(text: String) {
        let error = #expect(throws: ValueError.self) { try RegisterAssignment(argument: text) }
        #expect(error?.description.contains("does not fit in") == true)
    }

    @Test(arguments: ["ip=1", "EIP=1", "rip=0x7c00"])
    func `the instruction pointer is set by the entry point`(text: String) {
        let error = #expect(throws: ValueError.self) { try RegisterAssignment(argument: text) }
        #expect(error?.description.contains("--entry") == true)
    }

    @Test(arguments: ["ax", "ax=", "=1", "ah=1", "cs=1", "r16=1", "ax=two"])
    func `what is no assignment is refused`(text: String) {
        #expect(throws: ValueError.self) { try RegisterAssignment(argument: text) }
    }

    @Test func `two names of one register cannot both be set`() throws {
        let assignments = try ["al=1", "bx=2", "rax=3"].map(RegisterAssignment.init(argument:))
        let error = #expect(throws: ValueError.self) { try RegisterAssignment.merged(assignments) }
        #expect(error?.description.contains("rax is set twice") == true)
        #expect(try RegisterAssignment.merged(Array(assignments[1...])) == [.rbx: 2, .rax: 3])
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
