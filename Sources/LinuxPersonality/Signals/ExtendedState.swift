// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// x87, SSE and later registers in memory: an XSAVE area in the standard format, as signal frames and the vCPU have it.
struct ExtendedState: Sendable {
    /// The area that FXSAVE stores, in the last 48 bytes of which the kernel says how large the whole is.
    static let legacyBytes = 512
    /// That and the header.
    static let leastBytes = 576
    /// With AVX's registers.
    static let commonBytes = 832
    /// With AVX-512's and PKRU, wherever processors have them.
    static let mostBytes = 2696
    /// The alignment that XSAVE demands.
    static let alignment: UInt64 = 64
    /// Bytes that the vCPU takes, if it has not been asked for any yet: `sizeof(struct kvm_xsave)`.
    static let vcpuBytes = 4096

    /// `FP_XSTATE_MAGIC1` and, behind the area, `FP_XSTATE_MAGIC2`.
    static let magic: (first: UInt32, second: UInt32) = (0x4650_5853, 0x4650_5845)
    private static let softwareOffset = 464
    private static let headerOffset = 512
    /// x87, SSE and AVX.
    private static let commonFeatures: UInt64 = 7
    /// Those, AVX-512 and PKRU.
    private static let allFeatures: UInt64 = 0x2E7
    /// Bits of MXCSR that are there.
    private static let mxcsrMask: UInt64 = 0xFFFF

    private(set) var bytes: [UInt8]

    /// Components that are not as a thread begins: `XSTATE_BV`.
    private var features: UInt64 { GuestRecord.word(bytes, at: Self.headerOffset) }

    /// What the vCPU has.
    init(ofProcessor bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.count < Self.leastBytes {
            self.bytes += [UInt8](repeating: 0, count: Self.leastBytes - bytes.count)
        }
    }

    /// x87's control and status word and MXCSR, which tell why there was an exception.
    var controls: (x87: UInt64, x87Status: UInt64, mxcsr: UInt64) {
        (
            GuestRecord.word(bytes, at: 0, count: 2), GuestRecord.word(bytes, at: 2, count: 2),
            GuestRecord.word(bytes, at: 24, count: 4)
        )
    }

    /// What goes into a frame: as much as is in use, with the kernel's words about it, and the closing magic.
    var framed: [UInt8] {
        let isCommon = features & ~Self.commonFeatures == 0
        let count = min(max(isCommon ? Self.commonBytes : Self.mostBytes, Self.leastBytes), bytes.count)
        var record = GuestRecord()
        record.append(bytes.prefix(Self.softwareOffset))
        record.append(Self.magic.first)
        record.append(UInt32(count + 4))
        record.append(isCommon ? Self.commonFeatures : Self.allFeatures)
        record.append(UInt32(count))
        record.pad(to: Self.headerOffset)
        record.append(features | 3)
        record.append(bytes[(Self.headerOffset + 8)..<count])
        record.append(Self.magic.second)
        return record.bytes
    }

    // MARK: Back from a frame

    /// How large the area is that begins with these bytes, the closing magic not included; nil if it is only FXSAVE's.
    static func size(ofFrame legacy: [UInt8]) -> Int? {
        guard GuestRecord.word(legacy, at: softwareOffset, count: 4) == UInt64(magic.first) else { return nil }
        let whole = GuestRecord.word(legacy, at: softwareOffset + 4, count: 4)
        let size = GuestRecord.word(legacy, at: softwareOffset + 16, count: 4)
        guard (leastBytes...mostBytes).contains(Int(size)), size <= whole else { return nil }
        return Int(size)
    }

    /// What comes out of a frame, as the vCPU takes it.
    ///
    /// - Parameter frame: the area, or the bytes of FXSAVE alone.
    /// - Returns: nil for what XRSTOR would refuse.
    init?(frame: [UInt8], vcpuBytes: Int) {
        bytes = frame
        let wanted = GuestRecord.word(frame, at: Self.softwareOffset + 8)
        let isWhole = frame.count >= Self.leastBytes
        if isWhole {
            // XCOMP_BV and what is reserved.
            guard frame[(Self.headerOffset + 8)..<Self.leastBytes].allSatisfy({ $0 == 0 }) else { return nil }
        }
        guard GuestRecord.word(frame, at: 24, count: 4) & ~Self.mxcsrMask == 0 else { return nil }
        let features = isWhole ? self.features & wanted & Self.allFeatures : 3
        bytes += [UInt8](repeating: 0, count: max(0, vcpuBytes - bytes.count))
        for index in Self.softwareOffset..<Self.headerOffset { bytes[index] = 0 }
        for index in 0..<8 { bytes[Self.headerOffset + index] = UInt8(truncatingIfNeeded: features >> (index * 8)) }
    }
}
