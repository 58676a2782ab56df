// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Guest memory as a PC's firmware describes it to a kernel: the ranges that E820 tells.
enum PCMemory {
    /// One range.
    struct Range: Hashable {
        let address: UInt64
        let count: UInt64
        let kind: Kind
    }

    /// What a range is; the raw values are E820's.
    enum Kind: UInt32 {
        case usable = 1
        case reserved = 2
    }

    /// The first address that something of ours may have: the page below holds a real-mode kernel's interrupt vectors.
    static let firstFree: UInt64 = 0x1000
    /// The end of conventional memory: there a PC keeps its extended BIOS data.
    static let lowerEnd: UInt64 = 0x9_FC00
    /// Where memory that belongs to the firmware begins, video memory and adapters before it.
    static let firmwareStart: UInt64 = 0xE_0000
    /// Where the rest of memory begins: 1 MiB.
    static let upperStart: UInt64 = 0x10_0000

    /// The ranges, by rising address.
    static func ranges(memoryBytes: UInt64) -> [Range] {
        let lower = [
            Range(address: 0, count: lowerEnd, kind: .usable),
            Range(address: lowerEnd, count: 0xA_0000 - lowerEnd, kind: .reserved),
            Range(address: firmwareStart, count: upperStart - firmwareStart, kind: .reserved),
        ]
        guard memoryBytes > upperStart else { return lower }
        return lower + [Range(address: upperStart, count: memoryBytes - upperStart, kind: .usable)]
    }
}
