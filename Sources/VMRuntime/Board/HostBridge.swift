// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A PCI bus with nothing on it but its host bridge, device 0 of bus 0: by it, firmware for QEMU's PC knows where it runs.
///
/// | port | access | register |
/// |---|---|---|
/// | 0xCF8 | 4 bytes | address: bit 31 enables, bits 23-16 bus, 15-11 device, 10-8 function, 7-2 register |
/// | 0xCFC-0xCFF | 1, 2 or 4 bytes | the four bytes of that register; of any other device all ones, and writes vanish |
///
/// | offset | content |
/// |---|---|
/// | 0x00 | vendor 0x8086, device 0x1237: an Intel 82441FX |
/// | 0x04 | command 6, status 0x0280 |
/// | 0x08 | revision 2, class 0x060000: a host bridge |
/// | 0x2C | subsystem 0x1AF4, 0x1100: QEMU's |
/// | 0x40-0xFF | what the guest puts there, zeros at first |
///
/// The registers that say which memory below 1 MiB is ROM (PAM, 0x59-0x5F) are kept like the others and have no effect: all of it can
/// be written always. Source: PCI Local Bus Specification 3.0, section 3.2.2.3.2; the data sheet of the Intel 440FX.
struct HostBridge: Sendable, Equatable {
    /// Which register is accessed: 4 bytes at once.
    static let addressPort: UInt16 = 0xCF8
    /// The register.
    static let dataPorts: ClosedRange<UInt16> = 0xCFC...0xCFF

    private static let (enabled, deviceMask): (UInt32, UInt32) = (0x8000_0000, 0x80FF_FF00)
    /// The first register that a guest may change.
    private static let firstWritable = 0x40
    private static let identity: [(offset: Int, bytes: [UInt8])] = [
        (0x00, [0x86, 0x80, 0x37, 0x12]), (0x04, [0x06, 0x00, 0x80, 0x02]), (0x08, [0x02, 0x00, 0x00, 0x06]),
        (0x2C, [0xF4, 0x1A, 0x00, 0x11]),
    ]

    /// The address register.
    var address: UInt32 = 0
    private var registers: [UInt8]

    init() {
        registers = [UInt8](repeating: 0, count: 256)
        for (offset, bytes) in Self.identity { registers.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
    }

    /// A byte of the register that the address names.
    func read(_ port: UInt16) -> UInt8 { place(of: port).map { registers[$0] } ?? 0xFF }

    /// Likewise.
    mutating func write(_ value: UInt8, to port: UInt16) {
        guard let place = place(of: port), place >= Self.firstWritable else { return }
        registers[place] = value
    }

    /// nil where the address is that of another device.
    private func place(of port: UInt16) -> Int? {
        guard address & Self.deviceMask == Self.enabled else { return nil }
        return Int(address & 0xFC) + Int(port & 3)
    }
}
