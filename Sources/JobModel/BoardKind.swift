// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a guest finds around its processor. The raw value is the number on the wire.
public enum BoardKind: UInt8, Sendable, Hashable, CaseIterable {
    /// A serial port, a debug console and an exit port: nothing interrupts the guest, and HLT ends it.
    case bare = 0
    /// A PC, as much of it as firmware and small kernels need to start: the kernel's interrupt controllers and timer, a clock, a keyboard
    /// controller, QEMU's firmware configuration, a PCI bus with nothing on it. HLT waits for an interrupt.
    case pc = 1

    /// The name for people and for JSON.
    public var name: String {
        switch self {
        case .bare: "bare"
        case .pc: "pc"
        }
    }
}

extension JobSpec {
    /// The smallest ROM: 64 KiB.
    public static let minimumROMBytes: UInt64 = 64 << 10
    /// The largest ROM: 4 MiB.
    public static let maximumROMBytes: UInt64 = 4 << 20
}
