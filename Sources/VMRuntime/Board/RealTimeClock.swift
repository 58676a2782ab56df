// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The clock and the battery-backed memory of a PC, as firmware and start-up code read them. Time stands still.
///
/// | port | read | write |
/// |---|---|---|
/// | 0x70 | all ones | the register's number; bit 7, which masks NMIs, is ignored |
/// | 0x71 | that register | that register |
///
/// | register | content |
/// |---|---|
/// | 0x00, 0x02, 0x04 | seconds, minutes, hours: 00:00:00 |
/// | 0x06, 0x07, 0x08, 0x09 | weekday (1 is Sunday), day, month, year: Saturday, 1 January 2000 |
/// | 0x0A | A: divider and rate; bit 7 UIP, an update in progress, at each ``updateInterval``th reading |
/// | 0x0B | B: bit 2 binary instead of BCD, bit 1 24 hours; the interrupts that it enables never come |
/// | 0x0C | C: no interrupt |
/// | 0x0D | D: the memory is valid |
/// | 0x14 | equipment: a coprocessor |
/// | 0x15-0x16 | base memory in KiB: 640 |
/// | 0x17-0x18, 0x30-0x31 | memory above 1 MiB in KiB, at most 65535 |
/// | 0x32 | century, BCD or binary as the year is |
/// | 0x34-0x35 | memory above 16 MiB in units of 64 KiB |
/// | 0x5B-0x5D | memory above 4 GiB in units of 64 KiB: none |
/// | 0x5F | processors beside the first: none |
///
/// All others are memory, zeros at first. A guest that sets the time reads what it set. Source: the data sheet of the Motorola
/// MC146818A; the memory sizes are where the IBM PC AT and QEMU have them.
struct RealTimeClock: Sendable, Equatable {
    /// The register's number.
    static let indexPort: UInt16 = 0x70
    /// The register itself.
    static let dataPort: UInt16 = 0x71
    /// Of so many readings of register A one shows an update in progress, so that code which waits for one goes on: 64.
    static let updateInterval: UInt8 = 64

    private enum Register {
        static let time: Set<UInt8> = [0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32]
        static let hours: UInt8 = 0x04
        static let (statusA, statusB, statusC, statusD): (UInt8, UInt8, UInt8, UInt8) = (0x0A, 0x0B, 0x0C, 0x0D)
    }

    private enum Bit {
        static let updateInProgress: UInt8 = 0x80  // A
        static let binary: UInt8 = 0x04  // B
        static let hours24: UInt8 = 0x02  // B
        static let afternoon: UInt8 = 0x80  // hours, of 12
    }

    private static let indexMask: UInt8 = 0x7F
    /// 32.768 kHz, and 1024 interrupts a second if there were any.
    private static let initialStatusA: UInt8 = 0x26
    private static let memoryIsValid: UInt8 = 0x80

    private var index: UInt8 = 0
    private var readingsOfA: UInt8 = 0
    /// By number; those of the time are binary here, whatever register B says.
    private var registers = [UInt8](repeating: 0, count: 128)

    /// - Parameter memoryBytes: guest memory, below 4 GiB.
    init(memoryBytes: UInt64) {
        (registers[0x06], registers[0x07], registers[0x08], registers[0x32]) = (7, 1, 1, 20)
        registers[Int(Register.statusA)] = Self.initialStatusA
        registers[Int(Register.statusB)] = Bit.hours24
        registers[0x14] = 0x02
        store(640, at: 0x15)
        let extended = UInt16(clamping: (memoryBytes >> 10) - min(1024, memoryBytes >> 10))
        store(extended, at: 0x17)
        store(extended, at: 0x30)
        store(UInt16(clamping: (memoryBytes >> 16) - min(256, memoryBytes >> 16)), at: 0x34)
    }

    private mutating func store(_ value: UInt16, at number: Int) {
        (registers[number], registers[number + 1]) = (UInt8(value & 0xFF), UInt8(value >> 8))
    }

    /// A byte written to the first port.
    mutating func select(_ number: UInt8) { index = number & Self.indexMask }

    /// A byte read from the second port.
    mutating func read() -> UInt8 {
        switch index {
        case Register.statusA:
            readingsOfA = (readingsOfA + 1) % Self.updateInterval
            return registers[Int(index)] | (readingsOfA == 0 ? Bit.updateInProgress : 0)
        case Register.statusC: return 0
        case Register.statusD: return Self.memoryIsValid
        case Register.hours: return encode(hours: registers[Int(index)])
        case let number where Register.time.contains(number): return encode(registers[Int(number)])
        default: return registers[Int(index)]
        }
    }

    /// A byte written to the second port.
    mutating func write(_ value: UInt8) {
        switch index {
        case Register.statusA: registers[Int(index)] = value & ~Bit.updateInProgress
        case Register.statusC, Register.statusD: break
        case Register.hours: registers[Int(index)] = decode(hours: value)
        case let number where Register.time.contains(number): registers[Int(number)] = decode(value)
        default: registers[Int(index)] = value
        }
    }

    // MARK: How numbers are written

    private var isBinary: Bool { registers[Int(Register.statusB)] & Bit.binary != 0 }
    private var has24Hours: Bool { registers[Int(Register.statusB)] & Bit.hours24 != 0 }

    private func encode(_ number: UInt8) -> UInt8 { isBinary ? number : (number / 10) << 4 | number % 10 }

    private func decode(_ value: UInt8) -> UInt8 { isBinary ? value : (value >> 4) * 10 + value & 0x0F }

    private func encode(hours: UInt8) -> UInt8 {
        guard !has24Hours else { return encode(hours) }
        let hour = hours % 12 == 0 ? 12 : hours % 12
        return encode(hour) | (hours >= 12 ? Bit.afternoon : 0)
    }

    private func decode(hours value: UInt8) -> UInt8 {
        guard !has24Hours else { return decode(value) }
        return decode(value & ~Bit.afternoon) % 12 + (value & Bit.afternoon != 0 ? 12 : 0)
    }
}
