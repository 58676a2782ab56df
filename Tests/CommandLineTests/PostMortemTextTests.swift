// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Disassembly
import JobModel
import Testing

@testable import kvmjob

/// A result in real mode whose RIP is so far behind its code segment's base.
func realModeResult(_ outcome: Outcome = .halted, rip: UInt64, csBase: UInt64 = 0) -> JobResult {
    var result = JobResult(outcome: outcome)
    result.wallNanoseconds = 1000
    var (registers, system) = (Registers(), SystemRegisters())
    (registers.rip, registers.rsp) = (rip, 0x7000)
    system.cs = Segment(
        base: csBase, limit: 0xFFFF, selector: UInt16(truncatingIfNeeded: csBase >> 4),
        attributes: SegmentAttributes(type: 11, s: true))
    (result.registers, result.system) = (registers, system)
    return result
}

@Suite struct CodeListingTests {
    /// mov ax, 0x1234; out 0xe9, al; hlt; jmp to itself; and no instruction
    private static let bytes: [UInt8] =
        [0xB8, 0x34, 0x12, 0xE6, 0xE9, 0xF4, 0xEB, 0xFE, 0x06, 0x06, 0x06]
        + [UInt8](repeating: 0x90, count: 15)

    private func lines(rip: UInt64?, base: UInt64 = 0, at address: UInt64 = 0x7C00, bold: Bool = false) -> [String] {
        let window = MemoryWindow(address: address, bytes: Array(Self.bytes[..<8]))
        return CodeListing(window, rip: rip, base: base, size: .bits16).lines(bold: bold)
    }

    @Test func `the instruction at RIP is marked`() {
        #expect(
            lines(rip: 0x7C05) == [
                "code, 16-bit",
                "    7c00  b8 34 12  mov ax, 0x1234",
                "    7c03  e6 e9     out 0xe9, al",
                "=>  7c05  f4        hlt",
                "    7c06  eb fe     jmp 0x7c06",
            ])
    }

    @Test func `on a terminal the mark is bold, and nothing else is`() {
        let bold = lines(rip: 0x7C05, bold: true)
        #expect(bold[3] == "\u{1B}[1m=>  7c05  f4        hlt\u{1B}[0m")
        #expect(bold[..<3] == lines(rip: 0x7C05)[..<3] && bold[4] == lines(rip: 0x7C05)[4])
    }

    @Test func `addresses are offsets in the segment, whose base is told`() {
        let lines = lines(rip: 0xFFF5, base: 0xF0000, at: 0xFFFF0)
        #expect(lines[0] == "code, 16-bit, in the segment at 0xf0000")
        #expect(lines[3] == "=>  fff5  f4        hlt" && lines[4] == "    fff6  eb fe     jmp 0xfff6")
    }

    @Test func `in the middle of an instruction what stands before is read so that it ends there`() {
        // From the second byte on: 34 12 is an XOR, and then the OUT follows.
        #expect(
            lines(rip: 0x7C01) == [
                "code, 16-bit", "=>  7c01  34 12  xor al, 0x12", "    7c03  e6 e9  out 0xe9, al",
                "    7c05  f4     hlt",
                "    7c06  eb fe  jmp 0x7c06",
            ])
    }

    @Test(arguments: [nil, 0x1000, 0x7C08, .max] as [UInt64?])
    func `without RIP in the window it is read from its start, and nothing is marked`(rip: UInt64?) {
        let lines = lines(rip: rip)
        #expect(lines.count == 5 && lines[1] == "    7c00  b8 34 12  mov ax, 0x1234")
        #expect(!lines.contains { $0.contains("=>") })
    }

    @Test func `what is no instruction is told, and only so much is shown`() {
        let window = MemoryWindow(address: 0, bytes: [UInt8](repeating: 0x90, count: 40) + Self.bytes)
        let listing = CodeListing(window, rip: 48, base: 0, size: .bits64)
        #expect(listing.current.map { listing.instructions[$0].text } == "(bad)")
        let lines = listing.lines(bold: false)
        #expect(lines.count == 1 + CodeListing.shownBefore + CodeListing.shownAfter)
        #expect(lines[1 + CodeListing.shownBefore].hasPrefix("=>  00000030"))
    }

    @Test func `from the guest's first instruction on code is read as the guest ran it`() {
        // Zeros before the image: read from the first of them, the HLT would be the end of 00 F4, an ADD.
        let window = MemoryWindow(address: 0xFFB, bytes: [0, 0, 0, 0, 0, 0xF4, 0, 0, 0, 0, 0, 0, 0, 0])
        let texts = { (entries: [UInt64]) in
            CodeListing(window, rip: 0x1001, base: 0, size: .bits16, entries: entries).instructions.map(\.text)
        }
        let zeros = [String](repeating: "add byte ptr [bx + si], al", count: 4)
        #expect(texts([0x1000]) == ["hlt"] + zeros && texts([0x7C00, 0x1000]) == ["hlt"] + zeros)
        for entries in [[], [0x7C00], [0x1001], [0xFF0], [.max]] as [[UInt64]] {
            #expect(texts(entries).dropLast(4).last == "add ah, dh")
        }
        let lines = CodeListing(window, rip: 0x1001, base: 0, size: .bits16, entries: [0x1000]).lines(bold: false)
        #expect(
            lines == [
                "code, 16-bit", "    1000  f4     hlt", "=>  1001  00 00  add byte ptr [bx + si], al",
                "    ...          6 bytes of 0",
            ])
    }

    @Test func `where a guest can begin follows from its spec`() {
        #expect(JobSpec().possibleEntries == [0x1000, 0x7C00] && JobSpec(mode: .user64).possibleEntries == [0x10_0000])
        #expect(JobSpec(loadAddress: 0x2000).possibleEntries == [0x2000])
        #expect(JobSpec(loadAddress: 0x2000, entryPoint: 0x2004).possibleEntries == [0x2004])
    }

    @Test(arguments: CodeSize.allCases)
    func `a window at the end of the address space is read like any other`(size: CodeSize) throws {
        for address in [0xFFFF, 0xFFFF_FFF8, 0xFFFF_FFFE, UInt64.max - 3] where address <= size.addressMask {
            let window = MemoryWindow(address: address, bytes: [0x90, 0x90, 0xF4, 0x90, 0xEB, 0xFE])
            for base in [0, 0xFFFF_0000, UInt64.max] {
                let rip = address &+ 2 &- (size == .bits64 ? 0 : base)
                let listing = CodeListing(window, rip: rip, base: base, size: size)
                let current = try #require(listing.current)
                #expect(listing.instructions[current].text == "hlt" && current == 2)
                #expect(listing.linearAddress(of: listing.instructions[0]) == address)
            }
        }
        #expect(
            CodeListing(MemoryWindow(address: .max, bytes: []), rip: .max, base: 0, size: size).lines(bold: false).count
                == 1)
    }

    @Test func `the size of code follows the segment, and long mode where it is on`() {
        var system = SystemRegisters()
        system.cs.attributes = SegmentAttributes(type: 11, s: true, l: true)
        #expect(CodeSize(system) == .bits16)
        system.efer = 0x500
        #expect(CodeSize(system) == .bits64)
        system.cs.attributes = SegmentAttributes(type: 11, s: true, db: true)
        #expect(CodeSize(system) == .bits32)
        #expect(GuestMode.imageModes.map { CodeSize($0) } == [.bits16, .bits32, .bits64, .bits64])
    }
}

@Suite struct StackTableTests {
    private let window = MemoryWindow(address: 0x7000, bytes: (0..<20).map { UInt8($0) })

    @Test func `words have the size that the code pushes`() {
        #expect(
            StackTable(window: window, size: .bits16).lines == [
                "stack, 16-bit words", "    00007000  0100 0302 0504 0706 0908 0b0a 0d0c 0f0e",
                "    00007010  1110 1312",
            ])
        #expect(
            StackTable(window: window, size: .bits32).lines[1] == "    00007000  03020100 07060504 0b0a0908 0f0e0d0c")
        #expect(
            StackTable(window: window, size: .bits64).lines == [
                "stack, 64-bit words", "    00007000  0706050403020100 0f0e0d0c0b0a0908",
            ])
    }

    @Test func `a stack at the end of the address space wraps, and an empty one is empty`() {
        let high = MemoryWindow(address: .max - 15, bytes: [UInt8](repeating: 1, count: 24))
        #expect(StackTable(window: high, size: .bits64).lines.count == 3)
        #expect(StackTable(window: high, size: .bits64).lines[1].hasPrefix("    fffffffffffffff0  0101"))
        #expect(StackTable(window: high, size: .bits64).lines[2].hasPrefix("    0000000000000000  0101"))
        #expect(
            StackTable(window: MemoryWindow(address: 0, bytes: [1]), size: .bits16).lines == ["stack, 16-bit words"])
        let long = MemoryWindow(address: 0, bytes: (0..<PostMortem.stackLimit).map { UInt8(truncatingIfNeeded: $0) })
        #expect(StackTable(window: long, size: .bits16).lines.count == 1 + StackTable.lineLimit)
        let zeros = MemoryWindow(address: 0, bytes: [1] + [UInt8](repeating: 0, count: 95))
        #expect(
            StackTable(window: zeros, size: .bits64).lines.suffix(3) == [
                "    00000000  0000000000000001 0000000000000000", "    00000010  0000000000000000 0000000000000000",
                "    *",
            ])
    }
}

@Suite struct ExitTableTests {
    @Test func `exits stand in columns`() {
        let exits = [
            ExitRecord(kind: .portOut, size: 1, count: 1, address: 0x3F8, value: 0x34, rip: 0x7C09),
            ExitRecord(kind: .portIn, size: 2, count: 512, address: 0x1F0, value: 0x4142, rip: 0x7C0A),
            ExitRecord(kind: .mmioWrite, size: 8, count: 1, address: 0xB800_0000, value: 0x0748_0765, rip: 0x7C10),
            ExitRecord(kind: .internalError, value: 1, rip: 0x7C12), ExitRecord(kind: .halt, rip: 0x7C13),
        ]
        #expect(
            ExitTable(exits: exits).lines == [
                "last exits",
                "  kind            address     size    value               ascii     rip",
                "  port-out        0x3f8       1       0x34                4         0x7c09",
                "  port-in         0x1f0       2 x512  0x4142              BA        0x7c0a",
                "  mmio-write      0xb8000000  8       0x0000000007480765  e.H.....  0x7c10",
                "  internal-error  -           -       0x1                 -         0x7c12",
                "  halt            -           -       -                   -         0x7c13",
            ])
        #expect(ExitTable(exits: []).lines == ["last exits: none"])
    }

    @Test func `sizes that no CPU has are shown, not believed`() {
        let exit = ExitRecord(kind: .portOut, size: 255, count: .max, address: .max, value: .max, rip: .max)
        let lines = ExitTable(exits: [exit]).lines
        #expect(lines[2].contains("255 x4294967295") && lines[2].contains("........"))
        #expect(ExitRecord(kind: .mmioRead, size: 0, rip: 0).text == "mmio-read 0x0, size 0, value 0x0 \"\"")
    }
}

@Suite struct FloatStateTests {
    private func image() -> [UInt8] {
        var image = [UInt8](repeating: 0, count: PostMortem.fpuBytes)
        // One number pushed: top of stack is 7, and register 7 is in use. It is pi.
        image.replaceSubrange(0..<8, with: [0x7F, 0x03, 0x00, 0x38, 0x80, 0, 0, 0])
        image.replaceSubrange(24..<28, with: [0x80, 0x1F, 0, 0])
        image.replaceSubrange(32..<42, with: [0x35, 0xC2, 0x68, 0x21, 0xA2, 0xDA, 0x0F, 0xC9, 0x00, 0x40])
        image[160 + 2 * 16] = 0x11
        image[160 + 2 * 16 + 15] = 0xEE
        return image
    }

    @Test func `registers in use are shown with their values`() throws {
        #expect(
            try #require(FloatState(image())).lines == [
                "fpu",
                "    fcw 037f  fsw 3800  ftw 80  fop 0000  mxcsr 00001f80",
                "    st0    4000c90fdaa22168c235  3.141592653589793",
                "    xmm2   ee000000000000000000000000000011",
            ])
    }

    @Test func `a fresh state is short`() throws {
        let state = try #require(FloatState([UInt8](repeating: 0, count: 512)))
        #expect(state.lines.count == 3 && state.lines[2] == "    xmm0 to xmm15 are 0")
        #expect(FloatState([UInt8](repeating: 0, count: 511)) == nil)
    }

    @Test(
        arguments: [
            (0x3FFF, 1 << 63, "1.0"), (0xBFFE, 1 << 63, "-0.5"), (0, 0, "0.0"), (0x8000, 0, "-0.0"),
            (0x7FFF, 1 << 63, "inf"),
            (0xFFFF, 1 << 63, "-inf"), (0x7FFF, 0xC000_0000_0000_0000, "nan"), (0x7FFE, 1 << 63, "inf"), (1, 1, "0.0"),
        ] as [(UInt64, UInt64, String)])
    func `80 bits are told as a number`(exponent: UInt64, significand: UInt64, text: String) {
        #expect(FloatState.describe((exponent, significand)) == text)
    }
}

@Suite struct HexDumpTests {
    @Test func `equal lines are folded, and the last line is the address behind`() {
        let bytes = Array("hello, kvm\n".utf8) + [UInt8](repeating: 0, count: 5 + 48) + [0xFF, 0x7F]
        #expect(
            Array(HexDump(address: 0x7C00, bytes: bytes)) == [
                "00007c00  68 65 6c 6c 6f 2c 20 6b  76 6d 0a 00 00 00 00 00  |hello, kvm......|",
                "00007c10  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|",
                "*",
                "00007c40  ff 7f                                             |..|",
                "00007c42",
            ])
    }

    @Test func `two runs of equal lines are folded each for itself`() {
        let (zeros, ones) = ([UInt8](repeating: 0, count: 48), [UInt8](repeating: 1, count: 32))
        let lines = Array(HexDump(address: 0, bytes: zeros + ones + zeros))
        #expect(lines.map { $0.prefix(8) } == ["00000000", "*", "00000030", "*", "00000050", "*", "00000080"])
    }

    @Test func `an empty window is its address, and one at the end of the address space wraps`() {
        #expect(Array(HexDump(address: 0x10, bytes: [])) == ["00000010"])
        let lines = Array(HexDump(address: .max, bytes: [0x41]))
        #expect(
            lines[0].hasPrefix("ffffffffffffffff  41 ") && lines[0].hasSuffix("  |A|") && lines[1] == "0000000000000000"
        )
    }

    @Test func `a large window of nothing is three lines`() {
        let bytes = [UInt8](repeating: 0, count: 1 << 20)
        #expect(HexDump(address: 0, bytes: bytes).reduce(0) { count, _ in count + 1 } == 3)
    }
}

@Suite struct PostMortemTextTests {
    private func lines(_ result: JobResult, _ sections: PostMortemText.Sections) -> [String] {
        PostMortemText(report: JobReport(image: "a", name: "a", end: .ended(result)), sections: sections).lines
    }

    private var full: JobResult {
        var result = realModeResult(rip: 0x7C01)
        result.postMortem.code = MemoryWindow(address: 0x7C00, bytes: [0x90, 0xF4])
        result.postMortem.stack = MemoryWindow(address: 0x7000, bytes: [1, 2, 3, 4])
        result.postMortem.exits = [ExitRecord(kind: .halt, rip: 0x7C01)]
        result.postMortem.fpu = [UInt8](repeating: 0, count: 512)
        return result
    }

    @Test func `the parts that were asked for follow each other`() {
        let all = lines(full, [.code, .stack, .exits, .fpu])
        #expect(
            all.filter { !$0.hasPrefix(" ") && !$0.hasPrefix("=>") } == [
                "code, 16-bit", "stack, 16-bit words", "last exits", "fpu",
            ])
        #expect(lines(full, []) == [])
        #expect(lines(full, .stack) == ["stack, 16-bit words", "    00007000  0201 0403"])
    }

    @Test func `what is not known is left out, or said to be missing where it was asked for by name`() {
        let bare = JobResult(outcome: .halted)
        #expect(lines(bare, [.code, .stack, .exits, .fpu]) == ["last exits: none", "fpu: not available"])
        let lost = JobReport(image: "a", name: "a", end: .lost("gone"))
        #expect(PostMortemText(report: lost, sections: [.code, .exits]).lines.isEmpty)
    }

    @Test func `what KVM would not run is disassembled`() {
        let fxsave = realModeResult(
            .unemulatable(Unemulatable(rip: 0x7C00, bytes: [0x0F, 0xAE, 0x07, 0x90])), rip: 0x7C00)
        #expect(lines(fxsave, .code) == ["not run by KVM: fxsave [bx]  (0f ae 07)"])
        let bad = realModeResult(.unemulatable(Unemulatable(rip: nil, bytes: [0x0F, 0xFF])), rip: 0)
        #expect(lines(bad, .code).count == 1)
        #expect(lines(realModeResult(.unemulatable(Unemulatable(rip: nil, bytes: [])), rip: 0), .code) == [])
    }

    @Test func `without registers the code is read in the mode that the guest started in`() {
        var result = JobResult(outcome: .tripleFault)
        result.postMortem.code = MemoryWindow(address: 0x100000, bytes: [0x48, 0x31, 0xC0])
        var report = JobReport(image: "a", name: "a", end: .ended(result))
        report.mode = .long64
        #expect(PostMortemText(report: report, sections: .code).lines[1] == "    00100000  48 31 c0  xor rax, rax")
    }
}
