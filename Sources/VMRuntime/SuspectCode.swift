// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Finds bytes in memory that would be an instruction which a counter of emulated instructions gets wrong, or whose effect a
/// checkpoint does not take back.
///
/// - A repeated string instruction: KVM counts it once for every 1,024 elements and once for its end.
/// - WRMSR, XSETBV, MOV to a debug register: state that is not part of a `VCPUCheckpoint`.
///
/// It looks at bytes, not at instructions: whatever could be one at any alignment is found, and much that is none. What would
/// go on in the next page is taken for one too, since what the guest has mapped there is not known.
struct SuspectCode {
    private struct Class: OptionSet {
        let rawValue: UInt8
        static let prefix = Class(rawValue: 1)
        static let repeatPrefix = Class(rawValue: 2)
        static let string = Class(rawValue: 4)
        static let afterEscape = Class(rawValue: 8)
    }

    private static let escape: UInt8 = 0x0F

    private static let classes: [Class] = (0...255).map { (byte: UInt8) in
        switch byte {
        case 0xF2, 0xF3: [.prefix, .repeatPrefix]
        // Segments, sizes, LOCK, and REX, which in other modes is an instruction of its own.
        case 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0x40...0x4F: .prefix
        case 0x6C...0x6F, 0xA4...0xA7, 0xAA...0xAF: .string
        // WRMSR, MOV to a debug register, and the group that XSETBV is in.
        case 0x30, 0x23, 0x01: .afterEscape
        default: []
        }
    }

    /// Whether a page could hold such an instruction or the beginning of one.
    static func isIn(_ page: [UInt8]) -> Bool {
        var repeats = false
        var escaped = false
        for byte in page {
            let kind = classes[Int(byte)]
            if kind.isEmpty {
                (repeats, escaped) = (false, byte == escape)
                continue
            }
            if repeats, kind.contains(.string) { return true }
            if escaped, kind.contains(.afterEscape) { return true }
            repeats = kind.contains(.repeatPrefix) || (repeats && kind.contains(.prefix))
            escaped = false
        }
        return repeats || escaped
    }
}
