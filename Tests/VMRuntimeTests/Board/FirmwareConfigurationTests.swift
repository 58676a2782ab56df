// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import VMRuntime

@Suite("QEMU's firmware configuration")
struct FirmwareConfigurationTests {
    private static func item(_ number: UInt16, bytes: Int, rom: UInt64 = 1 << 18) -> [UInt8] {
        let firmware = Held(FirmwareConfiguration(memoryBytes: 64 << 20, romBytes: rom))
        firmware.select(number)
        return (0..<bytes).map { _ in firmware.read() }
    }

    @Test("It identifies itself, has the ports alone, and tells memory and processors")
    func identity() {
        #expect(Self.item(0, bytes: 6) == Array("QEMU".utf8) + [0, 0])
        #expect(Self.item(1, bytes: 4) == [1, 0, 0, 0])
        #expect(Self.item(3, bytes: 8) == [0, 0, 0, 4, 0, 0, 0, 0])
        #expect(Self.item(5, bytes: 2) == [1, 0])
        #expect(Self.item(15, bytes: 2) == [1, 0])
    }

    @Test("What is not there reads as zeros, before anything was selected too")
    func nothing() {
        let firmware = Held(FirmwareConfiguration(memoryBytes: 1 << 20, romBytes: 0))
        #expect(firmware.read() == 0)
        #expect(Self.item(0x4000, bytes: 4) == [0, 0, 0, 0])
        #expect(Self.item(0xFFFF, bytes: 4) == [0, 0, 0, 0])
    }

    @Test("Selecting an item again begins at its first byte")
    func again() {
        let firmware = Held(FirmwareConfiguration(memoryBytes: 1 << 20, romBytes: 0))
        firmware.select(0)
        #expect([firmware.read(), firmware.read()] == Array("QE".utf8))
        firmware.select(0)
        #expect(firmware.read() == UInt8(ascii: "Q"))
    }

    @Test("The directory names each file with its size and item, sorted")
    func directory() {
        let listing = Self.item(0x19, bytes: 4 + 3 * 64)
        #expect(listing.prefix(4) == [0, 0, 0, 2])
        func entry(_ index: Int) -> [UInt8] { Array(listing[(4 + index * 64)..<(68 + index * 64)]) }
        #expect(entry(0) == [0, 0, 0, 4, 0, 0x20, 0, 0] + Self.name("etc/boot-fail-wait"))
        #expect(entry(1) == [0, 0, 0, 40, 0, 0x21, 0, 0] + Self.name("etc/e820"))
        #expect(entry(2).allSatisfy { $0 == 0 })
    }

    private static func name(_ text: String) -> [UInt8] {
        Array(text.utf8) + [UInt8](repeating: 0, count: 56 - text.utf8.count)
    }

    @Test("The map of addresses has guest memory, and the ROM where there is one")
    func map() {
        let memory: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0] + [0, 0, 0, 4, 0, 0, 0, 0] + [1, 0, 0, 0]
        let rom: [UInt8] = [0, 0, 0xFC, 0xFF, 0, 0, 0, 0] + [0, 0, 4, 0, 0, 0, 0, 0] + [2, 0, 0, 0]
        #expect(Self.item(0x21, bytes: 40) == memory + rom)
        #expect(Self.item(0x21, bytes: 40, rom: 0) == memory + [UInt8](repeating: 0, count: 20))
    }
}
