// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom

/// A guest that is put together at random out of what guests do with the console's ports and their neighbours. It brings forth the
/// same however its bytes leave it: what it reads back from the devices it prints.
struct TalkingGuest {
    let mode: GuestMode
    private(set) var image: [UInt8] = []
    private var generator: SplitMix64

    private static let debugConsole: UInt16 = 0xE9
    private static let com1: UInt16 = 0x3F8
    private static let lineControl: UInt16 = 0x3FB
    private static let modemControl: UInt16 = 0x3FC
    private static let lineStatus: UInt16 = 0x3FD

    init(_ mode: GuestMode, seed: UInt64, turns: Int) {
        self.mode = mode
        generator = SplitMix64(state: seed)
        // First its end is far enough for every string that it prints.
        for _ in 0..<turns { takeTurn() }
        image += mode == .user64 ? [0xE6, 0xF4] : [0xF4]  // out 0xf4, al; hlt
        image += [UInt8](repeating: 0x2E, count: Self.stringLimit)
    }

    private static let stringLimit = 500

    private mutating func takeTurn() {
        switch Int.random(in: 0..<12, using: &generator) {
        case 0, 1: say(on: Self.debugConsole)
        case 2, 3: say(on: Self.com1)
        case 4: sayOften()
        case 5: printString(to: [Self.debugConsole, Self.com1, 0x80].randomElement(using: &generator) ?? 0)
        case 6: writeWide()
        case 7: useDivisor()
        case 8: loopBack()
        case 9: pollAndSay()
        case 10: write(anyByte(), to: 0x80)
        default: write(anyByte(), to: [0xE8, 0xEA, 0x3F7, 0x400].randomElement(using: &generator) ?? 0)
        }
    }

    // MARK: What it does

    private mutating func say(on port: UInt16) {
        for _ in 0..<Int.random(in: 1...4, using: &generator) { write(anyByte(), to: port) }
    }

    /// Around the size of the ring, by a loop.
    private mutating func sayOften() {
        load(count: Int.random(in: 150...360, using: &generator))
        load(port: [Self.debugConsole, Self.com1].randomElement(using: &generator) ?? 0)
        image += [0xEE, 0x04, 0x07, 0xE2, 0xFB]  // again: out dx, al; add al, 7; loop again
    }

    private mutating func printString(to port: UInt16) {
        load(count: Int.random(in: 0...Self.stringLimit, using: &generator))
        load(port: port)
        image += [0xBE] + immediate(mode == .real16 ? 0x1000 : 0x10_0000)  // mov esi, the image
        image += [0xF3, 0x6E]  // rep outsb
    }

    private mutating func writeWide() {
        load(port: [Self.debugConsole, 0xE8, 0xE7, Self.com1, 0x3F7, 0x3F6].randomElement(using: &generator) ?? 0)
        // To COM1's second register only what lets its lines alone: 4 bytes reach LCR.
        let value = UInt32(anyByte()) | UInt32(anyByte()) << 8
        image += (mode == .real16 ? [0x66, 0xB8] : [0xB8]) + bytes(of: value)  // mov eax, value
        let isWord = Bool.random(using: &generator)
        image += (isWord == (mode == .real16) ? [] : [0x66]) + [0xEF]  // out dx, ax or eax
    }

    /// With DLAB set the first port is the divisor's low byte, which it reads back.
    private mutating func useDivisor() {
        write(0x80, to: Self.lineControl)
        for _ in 0..<Int.random(in: 1...3, using: &generator) { write(anyByte(), to: Self.com1) }
        write(anyByte(), to: Self.debugConsole)
        tell(Self.com1)
        write(3, to: Self.lineControl)
        write(anyByte(), to: Self.com1)
    }

    private mutating func loopBack() {
        write(0x10, to: Self.modemControl)
        write(anyByte(), to: Self.debugConsole)
        for _ in 0..<Int.random(in: 1...3, using: &generator) { write(anyByte(), to: Self.com1) }
        tell(Self.lineStatus)
        tell(Self.com1)
        write(0, to: Self.modemControl)
        write(anyByte(), to: Self.com1)
    }

    private mutating func pollAndSay() {
        for _ in 0..<Int.random(in: 1...5, using: &generator) {
            tell(Self.lineStatus)
            write(anyByte(), to: Self.com1)
        }
    }

    // MARK: How it is said

    private mutating func anyByte() -> UInt8 { UInt8.random(in: .min ... .max, using: &generator) }

    private mutating func write(_ value: UInt8, to port: UInt16) {
        load(port: port)
        image += [0xB0, value, 0xEE]  // mov al, value; out dx, al
    }

    /// Reads a port and prints what it reads.
    private mutating func tell(_ port: UInt16) {
        load(port: port)
        image += [0xEC, 0xE6, 0xE9]  // in al, dx; out 0xe9, al
    }

    private mutating func load(port: UInt16) { image += [0xBA] + immediate(UInt32(port)) }  // mov edx, port
    private mutating func load(count: Int) { image += [0xB9] + immediate(UInt32(count)) }  // mov ecx, count

    private func immediate(_ value: UInt32) -> [UInt8] { Array(bytes(of: value).prefix(mode == .real16 ? 2 : 4)) }
    private func bytes(of value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
}
