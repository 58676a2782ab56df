// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Disassembly
import Testing

@Suite struct DisassemblerTests {
    @Test(
        arguments: [
            (CodeSize.bits16, [0xB8, 0x34, 0x12, 0, 0], "mov ax, 0x1234", 3),
            (.bits32, [0xB8, 0x34, 0x12, 0, 0], "mov eax, 0x1234", 5),
            (.bits64, [0x48, 0x31, 0xC0], "xor rax, rax", 3), (.bits64, [0xF4, 0x90], "hlt", 1),
            (.bits16, [0xEB, 0xFE], "jmp 0x7c00", 2), (.bits64, [0xF3, 0x0F, 0x1E, 0xFA], "endbr64", 4),
        ] as [(CodeSize, [UInt8], String, Int)])
    func `the same bytes are read by the size of the code`(size: CodeSize, bytes: [UInt8], text: String, length: Int) {
        let found = Disassembler(size).instruction(at: 0x7C00, in: bytes)
        #expect(found == Instruction(address: 0x7C00, bytes: Array(bytes[..<length]), text: text))
    }

    @Test func `what begins no instruction, or only a part of one, is none`() {
        let disassembler = Disassembler(.bits64)
        for bytes in [[], [0x06], [0x48], [0xB8, 1], [UInt8](repeating: 0x66, count: 20)] as [[UInt8]] {
            #expect(disassembler.instruction(at: 0, in: bytes) == nil)
        }
    }

    @Test func `a byte that begins none stands by itself, and a cut one at the end is left out`() {
        let found = Disassembler(.bits64).instructions(at: 0x10, in: [0x06, 0x90, 0xF4, 0xB8, 1])
        #expect(found.map(\.text) == ["(bad)", "nop", "hlt"] && found.map(\.address) == [0x10, 0x11, 0x12])
        #expect(found.map(\.isDecoded) == [false, true, true])
        #expect(Disassembler(.bits64).instructions(at: 0, in: [0xB8]).map(\.text) == ["(bad)"])
        #expect(Disassembler(.bits64).instructions(at: 0, in: []).isEmpty)
    }

    @Test func `what stands before a place is read so that it ends there, as early as that goes`() {
        let disassembler = Disassembler(.bits16)
        // The 0x12 of the MOV alone would be the begin of an ADC.
        let before = disassembler.instructions(before: 0x7C06, in: [0x06, 0xB8, 0x34, 0x12, 0xB0, 0x41])
        #expect(before.map(\.text) == ["push es", "mov ax, 0x1234", "mov al, 0x41"])
        #expect(before.map(\.address) == [0x7C00, 0x7C01, 0x7C04])
        // In 64-bit code 0x06 begins none: the first byte is passed over.
        #expect(Disassembler(.bits64).instructions(before: 2, in: [0x06, 0x90]).map(\.text) == ["nop"])
        #expect(disassembler.instructions(before: 0, in: [0xB8]).isEmpty)
        #expect(disassembler.instructions(before: 0, in: []).isEmpty)
    }

    @Test func `addresses wrap at the end of the address space`() {
        let found = Disassembler(.bits64).instructions(at: .max - 1, in: [0xEB, 0xFE, 0xF4])
        #expect(found.map(\.address) == [.max - 1, 0] && found[0].text == "jmp 0xfffffffffffffffe")
        #expect(Disassembler(.bits64).instructions(before: 1, in: [0x66, 0x90]).map(\.address) == [.max])
    }

    @Test(arguments: CodeSize.allCases)
    func `any bytes are taken, and all of them told`(size: CodeSize) {
        let disassembler = Disassembler(size)
        var generator = SplitMix(state: 42)
        for _ in 0..<2000 {
            let bytes = (0..<48).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            let found = disassembler.instructions(at: generator.next(), in: bytes)
            let covered = found.flatMap(\.bytes)
            #expect(bytes.starts(with: covered) && bytes.count - covered.count < Instruction.byteLimit)
            #expect(found.allSatisfy { !$0.text.isEmpty && $0.text.allSatisfy(\.isASCII) })
            let before = disassembler.instructions(before: generator.next(), in: bytes)
            #expect(Array(bytes.suffix(before.flatMap(\.bytes).count)) == before.flatMap(\.bytes))
        }
    }
}

/// Numbers that are the same in every run.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
