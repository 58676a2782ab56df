// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The model-specific registers that firmware sets up before anything else runs. They hold what is put there and have no effect.
///
/// | number | register | at first |
/// |---|---|---|
/// | 0x17, 0xCE | PLATFORM_ID, PLATFORM_INFO | 0, read-only |
/// | 0x3A | FEATURE_CONTROL | 1, read-only: locked, without VMX |
/// | 0x8B | BIOS_SIGN_ID | 0; a write is taken and forgotten, since there is no microcode |
/// | 0xFE | MTRRcap | 0x508, read-only: 8 variable ranges, the fixed ones, write-combining |
/// | 0x1A0 | MISC_ENABLE | 1: fast strings |
/// | 0x200-0x20F | the variable memory type ranges, bases and masks | 0 |
/// | 0x250, 0x258, 0x259, 0x268-0x26F | the fixed memory type ranges | 0 |
/// | 0x2FF | MTRRdefType | 0 |
/// | 0xC0010010, 0xC0010015 | AMD's SYSCFG, HWCR | 0 |
///
/// Source: Intel's Software Developer's Manual, volume 4; AMD64 Architecture Programmer's Manual, volume 2, appendix A.
struct FirmwareRegisters: Sendable, Equatable {
    private static let readOnly: [UInt32: UInt64] = [0x17: 0, 0x3A: 1, 0xCE: 0, 0xFE: 0x508]
    private static let signature: UInt32 = 0x8B

    private var values: [UInt32: UInt64]

    init() {
        values = [0x1A0: 1, 0x250: 0, 0x258: 0, 0x259: 0, 0x2FF: 0, 0xC001_0010: 0, 0xC001_0015: 0]
        for number in Array(0x200...0x20F) + Array(0x268...0x26F) { values[UInt32(number)] = 0 }
    }

    /// nil for a register that is not among them.
    func read(_ number: UInt32) -> UInt64? {
        number == Self.signature ? 0 : Self.readOnly[number] ?? values[number]
    }

    /// Returns whether the register can be written.
    mutating func write(_ number: UInt32, _ value: UInt64) -> Bool {
        if number == Self.signature { return true }
        guard values[number] != nil else { return false }
        values[number] = value
        return true
    }
}
