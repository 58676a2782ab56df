// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Testing

@testable import VMRuntime

@Suite("The clock of a PC")
struct RealTimeClockTests {
    private func register(_ number: UInt8, of clock: inout RealTimeClock) -> UInt8 {
        clock.select(number)
        return clock.read()
    }

    private func set(_ number: UInt8, to value: UInt8, in clock: inout RealTimeClock) {
        clock.select(number)
        clock.write(value)
    }

    @Test("It is Saturday, 1 January 2000, in BCD and of 24 hours")
    func time() {
        var clock = RealTimeClock(memoryBytes: 16 << 20)
        let time = [0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32].map { register($0, of: &clock) }
        #expect(time == [0, 0, 0, 7, 1, 1, 0, 0x20])
    }

    @Test("A time that was set reads back as register B says: BCD, binary, 12 hours")
    func forms() {
        var clock = RealTimeClock(memoryBytes: 16 << 20)
        set(0x02, to: 0x59, in: &clock)
        set(0x04, to: 0x23, in: &clock)
        set(0x0B, to: 0x06, in: &clock)
        let binary = [register(0x02, of: &clock), register(0x04, of: &clock), register(0x32, of: &clock)]
        #expect(binary == [59, 23, 20])
        set(0x0B, to: 0x00, in: &clock)
        let evening = register(0x04, of: &clock)
        #expect(evening == 0x91)
        set(0x04, to: 0x12, in: &clock)
        set(0x0B, to: 0x02, in: &clock)
        let midnight = register(0x04, of: &clock)
        #expect(midnight == 0)
    }

    @Test("An update shows at one reading of register A in 64, and nobody can set it")
    func updates() {
        var clock = RealTimeClock(memoryBytes: 16 << 20)
        set(0x0A, to: 0xA6, in: &clock)
        let readings = (0..<128).map { _ in register(0x0A, of: &clock) }
        #expect(readings.filter { $0 == 0xA6 }.count == 2)
        #expect(readings.filter { $0 == 0x26 }.count == 126)
    }

    @Test(
        "Memory sizes are where firmware looks for them",
        arguments: [
            (1 << 20, 0, 0), (16 << 20, 15 << 10, 0), (64 << 20, 63 << 10, 0x300), (1 << 30, 0xFFFF, 0x3F00),
        ] as [(UInt64, UInt16, UInt16)])
    func memory(bytes: UInt64, extended: UInt16, high: UInt16) {
        var clock = RealTimeClock(memoryBytes: bytes)
        func word(_ number: UInt8) -> UInt16 {
            UInt16(register(number, of: &clock)) | UInt16(register(number + 1, of: &clock)) << 8
        }
        let words = [word(0x15), word(0x17), word(0x30), word(0x34), word(0x5B)]
        #expect(words == [640, extended, extended, high, 0])
    }

    @Test("No interrupt is told, the memory is valid, and both stay so; other registers are memory")
    func others() {
        var clock = RealTimeClock(memoryBytes: 16 << 20)
        for number in [0x0C, 0x0D, 0x0F, 0x7F] as [UInt8] { set(number, to: 0x5A, in: &clock) }
        let read = [0x0C, 0x0D, 0x0F, 0x7F, 0x8F].map { register($0, of: &clock) }
        #expect(read == [0, 0x80, 0x5A, 0x5A, 0x5A])
    }

    @Test("Every value in every register is taken, and read in every form")
    func anything() {
        for value in UInt8.min...UInt8.max {
            var clock = RealTimeClock(memoryBytes: .max)
            for number in UInt8.min...UInt8.max { set(number, to: value, in: &clock) }
            for number in UInt8.min...UInt8.max { _ = register(number, of: &clock) }
        }
    }
}
