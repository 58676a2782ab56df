// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

extension Held where Value == Uart16550 {
    var wantsInput: Bool { value.wantsInput }
    var consumed: Int { value.consumed }
    func read(_ offset: UInt16) -> UInt8 { value.read(offset) }
    func write(_ byte: UInt8, to offset: UInt16) -> UInt8? { value.write(byte, to: offset) }
    func refill(_ bytes: [UInt8], ended: Bool) { value.refill(bytes, ended: ended) }
}

extension Held where Value == Board {
    var unclaimedWrites: UInt64 { value.unclaimedWrites }
    func read(_ port: UInt16, size: UInt8) -> UInt32 { value.read(port, size: size) }
    func passesOn(_ ports: [UInt16]) -> Bool { value.passesOn(ports) }
    func write(_ port: UInt16, size: UInt8, value number: UInt32) -> Board.Effect {
        value.write(port, size: size, value: number)
    }
}

extension Held where Value == PendingOutput {
    var count: Int { value.count }
    var isEmpty: Bool { value.isEmpty }
    var isFull: Bool { value.isFull }
    var dueAt: UInt64? { value.dueAt }
    func append(_ bytes: [UInt8], to channel: OutputChannel) -> Bool { value.append(bytes, to: channel) }
    func take(upTo limit: Int) -> (channel: OutputChannel, bytes: [UInt8])? { value.take(upTo: limit) }
}

@Suite("COM1")
struct UartTests {
    private enum Register {
        static let data: UInt16 = 0
        static let lineControl: UInt16 = 3
        static let modemControl: UInt16 = 4
        static let lineStatus: UInt16 = 5
        static let modemStatus: UInt16 = 6
        static let scratch: UInt16 = 7
    }

    @Test("Output is always ready, and a byte written comes out")
    func output() {
        let uart = Held(Uart16550())
        #expect(uart.read(Register.lineStatus) == 0x60)
        #expect(uart.write(0x41, to: Register.data) == 0x41)
    }

    @Test("Input shows in DR, comes in order, and DCD falls behind its end")
    func input() {
        let uart = Held(Uart16550())
        #expect(uart.wantsInput)
        #expect(uart.read(Register.modemStatus) & 0x80 != 0, "input may still come")
        uart.refill([1, 2], ended: true)
        #expect(uart.read(Register.lineStatus) & 1 == 1)
        #expect(uart.read(Register.data) == 1)
        #expect(uart.read(Register.modemStatus) & 0x80 != 0, "a byte is left")
        #expect(uart.read(Register.data) == 2)
        #expect(uart.read(Register.lineStatus) & 1 == 0)
        #expect(uart.read(Register.modemStatus) & 0x80 == 0)
        #expect(uart.read(Register.data) == 0, "nothing is left")
        #expect(uart.consumed == 2)
        #expect(!uart.wantsInput)
    }

    @Test("With DLAB the first two registers are the divisor, and nothing comes out")
    func divisor() {
        let uart = Held(Uart16550())
        #expect(uart.write(0x80, to: Register.lineControl) == nil)
        #expect(uart.write(12, to: Register.data) == nil)
        #expect(uart.read(Register.data) == 12)
        #expect(uart.write(3, to: Register.lineControl) == nil)
        #expect(uart.write(0x42, to: Register.data) == 0x42)
    }

    @Test("Loopback brings output back as input, and modem outputs as inputs")
    func loopback() {
        let uart = Held(Uart16550())
        #expect(uart.write(0x1A, to: Register.modemControl) == nil)
        #expect(uart.write(0x55, to: Register.data) == nil)
        #expect(uart.read(Register.lineStatus) & 1 == 1)
        #expect(uart.read(Register.data) == 0x55)
        #expect(uart.read(Register.modemStatus) & 0xF0 == 0x90, "RTS as CTS, OUT2 as DCD")
    }

    @Test("The scratch register keeps what it is given, as drivers check")
    func scratch() {
        let uart = Held(Uart16550())
        #expect(uart.write(0xA5, to: Register.scratch) == nil)
        #expect(uart.read(Register.scratch) == 0xA5)
    }
}

@Suite("The board")
struct BoardTests {
    @Test("Unclaimed ports read as all ones, and writes to them are counted")
    func unclaimed() {
        let board = Held(Board())
        #expect(board.read(0x80, size: 1) == 0xFF)
        #expect(board.read(0x80, size: 2) == 0xFFFF)
        #expect(board.read(0xFFFF, size: 4) == 0xFFFF_FFFF, "across the last port")
        #expect(board.write(0x80, size: 2, value: 7) == .unclaimed(PortWrite(port: 0x80, size: 2, value: 7)))
        #expect(board.unclaimedWrites == 1)
    }

    @Test("The exit port takes any width", arguments: [1, 2, 4] as [UInt8])
    func exit(size: UInt8) {
        let board = Held(Board())
        #expect(board.write(0xF4, size: size, value: 0xAB) == .exit(code: 0xAB))
    }

    @Test("The ready port takes any width, and is no unclaimed one", arguments: [1, 2, 4] as [UInt8])
    func ready(size: UInt8) {
        let board = Held(Board())
        #expect(board.write(0xF5, size: size, value: 0xAB) == .ready)
        #expect(board.read(0xF5, size: 1) == 0xFF)
        #expect(board.unclaimedWrites == 0)
    }

    @Test("What a guest has set of its devices stays, and what belonged to its job does not")
    func settings() {
        let board = Held(Board())
        #expect(board.write(0x3FB, size: 1, value: 0x9B) == .none)
        #expect(board.write(0x3F8, size: 2, value: 0x1234) == .none)
        #expect(board.write(0x3FF, size: 1, value: 0x5A) == .none)
        #expect(board.write(0x80, size: 1, value: 1) == .unclaimed(PortWrite(port: 0x80, size: 1, value: 1)))
        board.value.uart.refill([7], ended: true)
        let next = Held(board.value.settings)
        #expect(next.read(0x3F8, size: 2) == 0x1234)
        #expect(next.read(0x3FB, size: 1) == 0x9B)
        #expect(next.read(0x3FF, size: 1) == 0x5A)
        #expect(next.unclaimedWrites == 0)
        #expect(next.value.uart.wantsInput)
    }

    @Test("A wide write to COM1 is one write for each byte")
    func wide() {
        let board = Held(Board())
        #expect(board.write(0x3F8, size: 1, value: 0x41) == .console(0x41))
        #expect(board.write(0xE9, size: 1, value: 0x42) == .console(0x42))
        #expect(board.write(0x3F8, size: 2, value: 0x0141) == .consoleBytes([0x41]), "the second byte is IER's")
        #expect(board.read(0x3F9, size: 1) == 1)
        #expect(board.write(0x3F7, size: 2, value: 0x4300) == .consoleBytes([0x43]), "the first byte is nobody's")
        #expect(board.unclaimedWrites == 0)
    }

    @Test func `bytes are passed on together only where each would be a byte for the console`() {
        let board = Held(Board())
        #expect(board.passesOn(Board.consolePorts))
        #expect(!board.passesOn([0xE9, 0x80]))
        #expect(!board.passesOn([0x3F9]))
        for (port, on, off) in [(0x3FB, 0x80, 0x03), (0x3FC, 0x10, 0x00)] as [(UInt16, UInt32, UInt32)] {
            _ = board.write(port, size: 1, value: on)
            #expect(!board.passesOn([0x3F8]), "COM1 does not transmit")
            _ = board.write(port, size: 1, value: off)
            #expect(board.passesOn([0x3F8]))
        }
    }
}

@Suite("Output that waits")
struct PendingOutputTests {
    @Test("Bytes leave in the order in which they came, channel by channel")
    func order() {
        let output = Held(PendingOutput())
        #expect(output.append([1, 2], to: .console))
        #expect(!output.append([3], to: .console))
        #expect(!output.append([9], to: .portWrites))
        #expect(!output.append([4], to: .console))
        #expect(output.count == 5)
        #expect(output.take(upTo: 2)?.bytes == [1, 2])
        #expect(output.take(upTo: 9)?.bytes == [3])
        let ports = output.take(upTo: 9)
        #expect(ports?.channel == .portWrites)
        #expect(ports?.bytes == [9])
        #expect(output.dueAt != nil)
        #expect(output.take(upTo: 9)?.bytes == [4])
        let nothing = output.take(upTo: 9)
        #expect(nothing == nil)
        #expect(output.isEmpty)
        #expect(output.dueAt == nil)
    }

    @Test("It is full at its named bound")
    func bound() {
        let output = Held(PendingOutput())
        _ = output.append([UInt8](repeating: 0, count: PendingOutput.chunkBytes - 1), to: .console)
        #expect(!output.isFull)
        _ = output.append([0], to: .console)
        #expect(output.isFull)
    }
}

@Suite("Instructions, as far as a meter knows them")
struct InstructionTests {
    private func instruction(_ text: String, is64Bit: Bool = false) -> Instruction {
        var bytes = InstructionBytes.allOnes
        for (index, byte) in hex(text).enumerated() { bytes[index] = byte }
        return Instruction(bytes, is64Bit: is64Bit)
    }

    @Test("HLT is known behind prefixes, and not behind LOCK")
    func halt() {
        #expect(instruction("f4").isHalt)
        #expect(instruction("66 67 2e f3 f4").isHalt)
        #expect(instruction("66 67 2e f3 f4").haltBytes == 5)
        #expect(!instruction("f0 f4").isHalt)
        #expect(instruction("48 f4", is64Bit: true).isHalt)
        #expect(!instruction("48 f4").isHalt, "DEC EAX, then HLT")
    }

    @Test("Repeated strings need both prefix and string instruction")
    func strings() {
        #expect(instruction("f3 a4").isRepeatedString)
        #expect(instruction("f2 48 ae", is64Bit: true).isRepeatedString)
        #expect(!instruction("a4").isRepeatedString)
        #expect(!instruction("f3 90").isRepeatedString, "PAUSE")
    }

    @Test("Sixteen prefixes are no reason to read on")
    func onlyPrefixes() { #expect(!instruction("66666666666666666666666666666666").isHalt) }
}
