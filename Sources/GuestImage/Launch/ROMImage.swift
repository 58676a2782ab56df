// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Firmware as the processor finds it after a reset: it ends at 4 GiB, where it cannot be written, and its last part is there below
/// 1 MiB once more, in memory.
public struct ROMImage: Sendable, Hashable {
    /// The firmware's bytes.
    public let bytes: ArraySlice<UInt8>
    /// Where its first byte is.
    public let address: UInt64
    /// The last of its bytes: 128 KiB, or all where it has less.
    public let shadowBytes: ArraySlice<UInt8>
    /// Where the first of those is; they end at 1 MiB.
    public let shadowAddress: UInt64

    /// The least and the most bytes: 64 KiB to 4 MiB.
    public static let sizes: ClosedRange<UInt64> = 0x1_0000...0x40_0000
    /// The end of the ROM: 4 GiB.
    public static let end: UInt64 = 1 << 32
    /// The most bytes that are there below 1 MiB too: 128 KiB.
    public static let shadowLimit = 0x2_0000
    /// How far before the end the first instruction is.
    static let resetDistance: UInt64 = 16

    init(_ bytes: ImageBytes) throws(LaunchError) {
        guard Self.sizes.contains(bytes.count), bytes.count % GuestLayout.pageBytes == 0 else {
            throw LaunchError(
                .invalidField, "size", bytes.count,
                "a ROM has whole pages of 4 KiB, from 64 KiB to 4 MiB")
        }
        self.bytes = bytes[0, bytes.count]
        address = Self.end - bytes.count
        shadowBytes = self.bytes.suffix(Self.shadowLimit)
        shadowAddress = PCMemory.upperStart - UInt64(shadowBytes.count)
    }

    /// What firmware does before its first jump: NOP, CLI, CLD, WBINVD, or a look at whether the processor is in protected mode already
    /// (`mov eax, cr0; test al, 1; jz`, over a jump for that).
    private static let preludes: [[UInt8]] = [
        [0x90], [0xFA], [0xFC], [0x0F, 0x09], [0x0F, 0x20, 0xC0, 0xA8, 0x01, 0x74, 0x05],
    ]
    /// Jumps: near, far and short.
    private static let jumps: Set<UInt8> = [0xE9, 0xEA, 0xEB]

    /// Whether bytes have the size of a ROM and begin, where a processor would, with a jump.
    static func looksLikeOne(_ bytes: ImageBytes) -> Bool {
        guard sizes.contains(bytes.count), bytes.count % GuestLayout.pageBytes == 0 else { return false }
        var start = bytes[bytes.count - resetDistance, resetDistance]
        while let prelude = preludes.first(where: { start.starts(with: $0) }) { start = start.dropFirst(prelude.count) }
        // A jump that goes nowhere is a hole in a file.
        return start.first.map(jumps.contains) == true && start.dropFirst().contains { $0 != 0 }
    }
}
