// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The header by which a kernel says that it starts as Multiboot 1 has it (section 3.1 of that specification).
///
/// | offset | field |
/// |---|---|
/// | 0 | magic, 0x1BADB002 |
/// | 4 | flags |
/// | 8 | checksum: the three make 0 |
/// | 12, 16, 20, 24, 28 | header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr, if bit 16 of flags is set |
struct MultibootHeader {
    /// Where the header is in the file.
    let offset: UInt64
    let flags: UInt32
    /// What it says of addresses, for a file that is not ELF or does not want to be read as such.
    let addresses: Addresses?

    struct Addresses {
        let header: UInt64
        let load: UInt64
        /// 0 for all that the file has.
        let loadEnd: UInt64
        /// 0 for none.
        let zerosEnd: UInt64
        let entry: UInt64
    }

    static let magic: UInt32 = 0x1BAD_B002
    /// The header lies within so many bytes of the file.
    static let reach: UInt64 = 8192
    private static let byteCount: UInt64 = 12
    private static let byteCountWithAddresses: UInt64 = 32
    /// Modules begin on pages, memory is described: both are so here for every kernel.
    private static let understoodFlags: UInt32 = 3
    private static let videoFlag: UInt32 = 4
    private static let addressFlag: UInt32 = 1 << 16

    /// Where a header is whose checksum is right; nil without one.
    static func find(in bytes: ImageBytes) -> UInt64? {
        places(in: bytes).first { bytes.word(at: $0 + 4) &+ bytes.word(at: $0 + 8) &+ magic == 0 }
    }

    /// Where there is a magic number, whatever follows it.
    static func places(in bytes: ImageBytes) -> [UInt64] {
        let end = min(bytes.count, reach)
        guard end >= byteCount else { return [] }
        return stride(from: 0, through: end - byteCount, by: 4).filter { bytes.word(at: $0) == magic }
    }

    /// Whether a header's `load_addr` has the file end at 4 GiB.
    static func asksForPlaceOfROM(_ bytes: ImageBytes, at header: UInt64) -> Bool {
        bytes.word(at: header + 4) & addressFlag != 0
            && UInt64(bytes.word(at: header + 16)) == ROMImage.end - min(bytes.count, ROMImage.end)
    }

    /// Where a header of Multiboot 2 is whose checksum is right: magic, architecture, length, checksum, in the first 32 KiB.
    static func findSecondVersion(in bytes: ImageBytes) -> UInt64? {
        let end = min(bytes.count, 32_768)
        guard end >= 16 else { return nil }
        return stride(from: 0, through: end - 16, by: 8).first { place in
            bytes.word(at: place) == 0xE852_50D6
                && (0..<4).reduce(UInt32(0)) { $0 &+ bytes.word(at: place + UInt64($1) * 4) } == 0
        }
    }

    /// - Throws: where there is none, or one that asks for what there is not.
    init(in bytes: ImageBytes) throws(LaunchError) {
        guard let offset = Self.find(in: bytes) else { throw Self.absence(in: bytes) }
        self.offset = offset
        flags = bytes.word(at: offset + 4)
        guard flags & Self.videoFlag == 0 else {
            throw LaunchError(
                .unsupported, "flags", UInt64(flags), at: offset + 4,
                "bit 2 asks for a video mode, and there is no display: clear it")
        }
        guard flags & 0xFFFF & ~Self.understoodFlags == 0 else {
            throw LaunchError(
                .unsupported, "flags", UInt64(flags), at: offset + 4,
                "of bits 0 to 15, which a boot loader must understand, Multiboot 1 defines 0 to 2")
        }
        addresses = flags & Self.addressFlag == 0 ? nil : try Self.addresses(bytes, at: offset)
    }

    private static func absence(in bytes: ImageBytes) -> LaunchError {
        guard let place = places(in: bytes).first else {
            return LaunchError(
                .otherFormat, "magic", UInt64(bytes.word(at: 0)), at: 0,
                "no word in the first \(reach) bytes is 0x1badb002: there is no Multiboot header")
        }
        let sum = magic &+ bytes.word(at: place + 4)
        return LaunchError(
            .invalidField, "checksum", UInt64(bytes.word(at: place + 8)), at: place + 8,
            "with the magic number and the flags it must make 0: it would be \(UInt64(0 &- sum).hexadecimal)")
    }

    private static func addresses(_ bytes: ImageBytes, at offset: UInt64) throws(LaunchError) -> Addresses {
        guard offset + byteCountWithAddresses <= min(bytes.count, reach) else {
            throw LaunchError(
                .truncated, "flags", UInt64(bytes.word(at: offset + 4)), at: offset + 4,
                "bit 16 announces five addresses, and the header with them must lie in the first \(reach) bytes of the file"
            )
        }
        let word = { (index: UInt64) in UInt64(bytes.word(at: offset + 12 + index * 4)) }
        return Addresses(header: word(0), load: word(1), loadEnd: word(2), zerosEnd: word(3), entry: word(4))
    }
}
