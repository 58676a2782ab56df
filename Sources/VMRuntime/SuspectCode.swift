// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Finds bytes in memory that would be an instruction which a counter of emulated instructions gets wrong, or whose effect a
/// checkpoint does not take back.
///
/// - A repeated string instruction: KVM counts it once for every 1,024 elements and once for its end.
/// - Interrupt 0x80 in real mode, which KVM tries again and again without a step, and VMCALL likewise.
/// - WRMSR, XSETBV, MOV to a debug register: state that is not part of a `VCPUCheckpoint`.
///
/// It looks at bytes, not at instructions: whatever could be one at any alignment is found, and much that is none. What would
/// go on in the next page is taken for one too, since what the guest has mapped there is not known.
struct SuspectCode {
    private static let anyPrefix: UInt8 = 1
    private static let repeatPrefix: UInt8 = 2
    private static let string: UInt8 = 4
    private static let afterEscape: UInt8 = 8
    private static let escape: UInt8 = 16
    private static let interrupt: UInt8 = 32
    private static let vector: UInt8 = 64

    private static let classes: [UInt8] = (0...255).map { (byte: UInt8) in
        switch byte {
        case 0xF2, 0xF3: anyPrefix | repeatPrefix
        // Segments, sizes, LOCK, and REX, which in other modes is an instruction of its own.
        case 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0x40...0x4F: anyPrefix
        case 0x6C...0x6F, 0xA4...0xA7, 0xAA...0xAF: string
        // WRMSR, MOV to a debug register, and the group that XSETBV and VMCALL are in.
        case 0x30, 0x23, 0x01: afterEscape
        case 0x0F: escape
        case 0xCD: interrupt
        case 0x80: vector
        default: 0
        }
    }

    /// Whether a page, as little-endian words, could hold such an instruction or the beginning of one.
    static func isIn(_ page: [UInt64]) -> Bool {
        let classes = classes
        /// ``repeatPrefix`` if one is among the prefixes just before, or ``escape`` or ``interrupt``.
        var before: UInt8 = 0
        for word in page {
            // Most of most pages.
            if word == 0 {
                before = 0
                continue
            }
            var rest = word
            for _ in 0..<8 {
                let kind = classes[Int(rest & 0xFF)]
                rest >>= 8
                if before != 0 {
                    if before == repeatPrefix, kind & string != 0 { return true }
                    if before == escape, kind & afterEscape != 0 { return true }
                    if before == interrupt, kind & vector != 0 { return true }
                    if kind & anyPrefix != 0, before == repeatPrefix { continue }
                }
                before = kind & (repeatPrefix | escape | interrupt)
            }
        }
        return before != 0
    }
}
