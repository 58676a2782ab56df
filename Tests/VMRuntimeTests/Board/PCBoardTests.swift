// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import VMRuntime

@Suite("The ports of a PC")
struct PCBoardTests {
    private static func makeBoard() -> Board { Board(.pc, memoryBytes: 64 << 20, romBytes: 1 << 18) }

    @Test("A bare board has none of its devices")
    func bare() {
        var board = Board()
        for port in [0x60, 0x64, 0x71, 0x80, 0x92, 0x402, 0x511, 0xCFC] as [UInt16] {
            let value = board.read(port, size: 1)
            #expect(value == 0xFF)
            let effect = board.write(port, size: 1, value: 0xFF)
            #expect(effect == .unclaimed(PortWrite(port: port, size: 1, value: 0xFF)))
        }
        #expect(board.unclaimedWrites == 8)
    }

    @Test("Both debug consoles write to the console and read as 0xE9", arguments: [0xE9, 0x402] as [UInt16])
    func consoles(port: UInt16) {
        var board = Self.makeBoard()
        let effect = board.write(port, size: 1, value: 0x41)
        #expect(effect == .consoleBytes([0x41]))
        let value = board.read(port, size: 1)
        #expect(value == 0xE9)
    }

    @Test("COM1 identifies itself as a 16550A: scratch, FIFOs, loopback")
    func serialPort() {
        var board = Self.makeBoard()
        _ = board.write(0x3FF, size: 1, value: 0x5A)
        let scratch = board.read(0x3FF, size: 1)
        #expect(scratch == 0x5A)
        let before = board.read(0x3FA, size: 1)
        _ = board.write(0x3FA, size: 1, value: 0x01)
        let after = board.read(0x3FA, size: 1)
        #expect((before, after) == (0x01, 0xC1))
        _ = board.write(0x3FC, size: 1, value: 0x1E)
        let effect = board.write(0x3F8, size: 1, value: 0xAE)
        let looped = board.read(0x3F8, size: 1)
        #expect(effect == .none)
        #expect(looped == 0xAE)
    }

    @Test("The PCI bus has its host bridge and nothing else")
    func bus() {
        var board = Self.makeBoard()
        func read(_ address: UInt32, _ port: UInt16 = 0xCFC, size: UInt8 = 4) -> UInt32 {
            _ = board.write(0xCF8, size: 4, value: address)
            return board.read(port, size: size)
        }
        let bridge = [read(0x8000_0000), read(0x8000_0000, 0xCFE, size: 2), read(0x8000_0008), read(0x8000_002C)]
        #expect(bridge == [0x1237_8086, 0x1237, 0x0600_0002, 0x1100_1AF4])
        // Another function, another device, another bus, and the bridge without the enabling bit.
        for address in [0x8000_0100, 0x8000_0800, 0x8001_0000, 0x0000_0000] as [UInt32] {
            let value = read(address)
            #expect(value == 0xFFFF_FFFF)
        }
        let address = board.read(0xCF8, size: 4)
        #expect(address == 0)
        // Of 4 bytes the last two lie behind the register.
        let beyond = read(0x8000_0000, 0xCFE)
        #expect(beyond == 0xFFFF_1237)
    }

    @Test("The bridge keeps what may be written, and its identity")
    func bridge() {
        var board = Self.makeBoard()
        _ = board.write(0xCF8, size: 4, value: 0x8000_0058)
        _ = board.write(0xCFD, size: 1, value: 0x30)
        _ = board.write(0xCFE, size: 2, value: 0x3333)
        let kept = board.read(0xCFC, size: 4)
        #expect(kept == 0x3333_3000)
        _ = board.write(0xCF8, size: 4, value: 0x8000_0000)
        _ = board.write(0xCFC, size: 4, value: 0)
        let identity = board.read(0xCFC, size: 4)
        #expect(identity == 0x1237_8086)
    }

    @Test("Firmware's configuration is selected by 2 bytes and read in every width")
    func configuration() {
        var board = Self.makeBoard()
        _ = board.write(0x510, size: 2, value: 0)
        let bytes = (0..<4).map { _ in UInt8(board.read(0x511, size: 1)) }
        #expect(bytes == Array("QEMU".utf8))
        _ = board.write(0x510, size: 2, value: 0)
        _ = board.write(0x510, size: 1, value: 3)
        let wide = board.read(0x511, size: 4)
        #expect(wide == 0xFFFF_FF51, "one byte, and nothing behind its port")
    }

    @Test(
        "A reset is told, whichever way the guest asks for it",
        arguments: [
            (0x64, 1, 0xFE), (0x92, 1, 0x01), (0xCF9, 1, 0x06), (0x91, 2, 0x0100), (0x92, 4, 0xFFFF_FFFF),
        ] as [(UInt16, UInt8, UInt32)])
    func reset(port: UInt16, size: UInt8, value: UInt32) {
        var board = Self.makeBoard()
        let effect = board.write(port, size: size, value: value)
        #expect(effect == .reset)
    }

    @Test("Address line 20 is on, and turning it on resets nothing")
    func addressLine20() {
        var board = Self.makeBoard()
        let value = board.read(0x92, size: 1)
        #expect(value == 2)
        let effect = board.write(0x92, size: 1, value: value)
        #expect(effect == .none)
    }

    @Test("The exit and the ready port are those of every board")
    func ends() {
        var board = Self.makeBoard()
        let effects = [board.write(0xF4, size: 4, value: 7), board.write(0xF5, size: 1, value: 0)]
        #expect(effects == [.exit(code: 7), .ready])
    }

    @Test(
        "A disk interface without a drive is neither busy nor ready",
        arguments: [0x177, 0x1F7, 0x376, 0x3F6] as [UInt16])
    func disks(port: UInt16) {
        var board = Self.makeBoard()
        let status = board.read(port, size: 1)
        #expect(status == 0)
        let effect = board.write(port, size: 1, value: 0xEC)
        #expect(effect == .none)
    }

    @Test("A progress code is taken, and what no device has is counted")
    func unclaimed() {
        var board = Self.makeBoard()
        _ = board.write(0x80, size: 1, value: 0x12)
        let progress = board.read(0x80, size: 1)
        #expect(progress == 0x12)
        #expect(board.unclaimedWrites == 0)
        let effect = board.write(0x2F8, size: 2, value: 0x1234)
        #expect(effect == .unclaimed(PortWrite(port: 0x2F8, size: 2, value: 0x1234)))
        let nothing = board.read(0x2F8, size: 2)
        #expect(nothing == 0xFFFF)
        #expect(board.unclaimedWrites == 1)
    }

    @Test("Every port takes every width in both directions", arguments: [1, 2, 4] as [UInt8])
    func everything(size: UInt8) {
        var board = Self.makeBoard()
        var resets: Set<UInt16> = []
        for port in UInt16.min...UInt16.max {
            for value in [0, 0x5A5A_5A5A, .max] as [UInt32] {
                _ = board.read(port, size: size)
                if board.write(port, size: size, value: value) == .reset { resets.insert(port) }
            }
        }
        #expect(!resets.isEmpty)
        let reached = [0x60, 0x64, 0x92, 0xCF9] as Set<UInt16>
        #expect(resets.allSatisfy { port in reached.contains { $0 &- port < UInt16(size) } })
    }

    @Test("What a job did to the devices is not what the next one starts from")
    func copies() {
        let first = Self.makeBoard()
        var second = first
        _ = second.write(0x70, size: 1, value: 0x7F)
        _ = second.write(0x71, size: 1, value: 0x77)
        var third = first
        _ = third.write(0x70, size: 1, value: 0x7F)
        let value = third.read(0x71, size: 1)
        #expect(value == 0)
    }
}

@Suite("Firmware's model-specific registers")
struct FirmwareRegistersTests {
    @Test("Memory types are kept, their number is fixed")
    func memoryTypes() {
        let registers = Held(FirmwareRegisters())
        for number in [0x200, 0x20F, 0x250, 0x258, 0x26F, 0x2FF] as [UInt32] {
            #expect(registers.read(number) == 0)
            #expect(registers.write(number, UInt64(number)))
            #expect(registers.read(number) == UInt64(number))
        }
        #expect(registers.read(0xFE) == 0x508)
        #expect(!registers.write(0xFE, 0))
    }

    @Test("A microcode update is asked for in vain, and without a fault")
    func microcode() {
        let registers = Held(FirmwareRegisters())
        #expect(registers.write(0x8B, 1))
        #expect(registers.read(0x8B) == 0)
    }

    @Test(
        "All others are none of the board's",
        arguments: [0, 0x10, 0x25A, 0x270, 0x4B56_4D01, 0xC000_0080] as [UInt32])
    func others(number: UInt32) {
        let registers = Held(FirmwareRegisters())
        #expect(registers.read(number) == nil)
        #expect(!registers.write(number, 1))
    }
}
