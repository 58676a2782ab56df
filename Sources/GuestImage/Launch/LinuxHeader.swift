// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The setup header of a `bzImage`, as the x86 boot protocol of Linux has it, of which the 64-bit entry is used.
///
/// | offset | field |
/// |---|---|
/// | 0x1F1, 0x1F4 | setup_sects, syssize |
/// | 0x1FE, 0x202, 0x206 | boot_flag 0xAA55, header "HdrS", version |
/// | 0x20E, 0x211 | kernel_version, loadflags |
/// | 0x22C, 0x230, 0x234, 0x236, 0x238 | initrd_addr_max, kernel_alignment, relocatable_kernel, xloadflags, cmdline_size |
/// | 0x258, 0x260 | pref_address, init_size |
struct LinuxHeader {
    /// Bytes of the file before the part that is loaded.
    let setupBytes: UInt64
    /// Bytes of the part that is loaded.
    let kernelBytes: UInt64
    /// Two numbers in one, 0x020F for 2.15.
    let version: UInt16
    /// The highest address that the initial RAM disk may reach.
    let diskLimit: UInt64
    let alignment: UInt64
    let isRelocatable: Bool
    /// The most bytes of the command line, without the NUL.
    let commandLineLimit: UInt64
    let preferredAddress: UInt64
    /// How much memory it needs from its first byte on before it looks at what else is there.
    let memoryBytes: UInt64
    /// The header itself, from ``start`` on.
    let fields: ArraySlice<UInt8>
    /// What the kernel says of itself.
    let release: String?

    /// Where the header is, in the file and in `boot_params`.
    static let start: UInt64 = 0x1F1
    /// The first byte of `boot_params` behind the header that is something else's.
    static let end: UInt64 = 0x290
    /// From the first byte that is loaded to the 64-bit entry.
    static let entryOffset: UInt64 = 0x200
    /// The first version of the protocol that has the 64-bit entry: 2.12.
    static let leastVersion: UInt16 = 0x020C
    private static let signature: UInt32 = 0x5372_6448

    private enum Place {
        static let setupSectors: UInt64 = 0x1F1, size: UInt64 = 0x1F4, bootFlag: UInt64 = 0x1FE, jump: UInt64 = 0x201
        static let signature: UInt64 = 0x202, version: UInt64 = 0x206, release: UInt64 = 0x20E, flags: UInt64 = 0x211
        static let diskLimit: UInt64 = 0x22C, alignment: UInt64 = 0x230, relocatable: UInt64 = 0x234
        static let moreFlags: UInt64 = 0x236, commandLineLimit: UInt64 = 0x238
        static let preferredAddress: UInt64 = 0x258, memoryBytes: UInt64 = 0x260
    }

    /// Whether there is a header, right or wrong.
    static func isPresent(in bytes: ImageBytes) -> Bool {
        bytes.word(at: Place.signature) == signature && bytes.half(at: Place.bootFlag) == 0xAA55
    }

    init(_ bytes: ImageBytes) throws(LaunchError) {
        try Self.checkKind(bytes)
        fields = try Self.fields(bytes)
        version = bytes.half(at: Place.version)
        // Of the oldest kernels 0 stands for 4.
        let sectors = UInt64(bytes.byte(at: Place.setupSectors))
        setupBytes = ((sectors == 0 ? 4 : sectors) + 1) * 512
        kernelBytes = try Self.kernelBytes(bytes, behind: setupBytes)
        diskLimit = UInt64(bytes.word(at: Place.diskLimit))
        isRelocatable = bytes.byte(at: Place.relocatable) != 0
        commandLineLimit = UInt64(bytes.word(at: Place.commandLineLimit))
        preferredAddress = bytes.long(at: Place.preferredAddress)
        alignment = try Self.alignment(bytes)
        memoryBytes = try Self.memoryBytes(bytes, kernelBytes)
        release = Self.release(bytes)
    }

    private static func checkKind(_ bytes: ImageBytes) throws(LaunchError) {
        guard isPresent(in: bytes) else {
            throw LaunchError(
                .otherFormat, "header", UInt64(bytes.word(at: Place.signature)), at: Place.signature,
                "it must be \"HdrS\", 0x53726448, with boot_flag 0xaa55 at byte 510: this is no bzImage")
        }
        let version = bytes.half(at: Place.version)
        guard version >= leastVersion else {
            throw LaunchError(
                .unsupported, "version", UInt64(version), at: Place.version,
                "the 64-bit entry is there from version 2.12 (0x20c) of the boot protocol on, which is Linux 3.8")
        }
        let flags = bytes.byte(at: Place.flags)
        guard flags & 1 != 0 else {
            throw LaunchError(
                .unsupported, "loadflags", UInt64(flags), at: Place.flags,
                "bit 0 (LOADED_HIGH) is 0: this is a zImage, and only a bzImage is started")
        }
        let moreFlags = bytes.half(at: Place.moreFlags)
        guard moreFlags & 1 != 0 else {
            throw LaunchError(
                .unsupported, "xloadflags", UInt64(moreFlags), at: Place.moreFlags,
                "bit 0 (XLF_KERNEL_64) is 0: this kernel has no 64-bit entry")
        }
    }

    /// The header says itself where it ends: behind the jump at its middle, whose second byte is the distance.
    private static func fields(_ bytes: ImageBytes) throws(LaunchError) -> ArraySlice<UInt8> {
        let distance = UInt64(bytes.byte(at: Place.jump))
        let end = Place.signature + distance
        guard end >= Place.memoryBytes + 4, end <= Self.end else {
            throw LaunchError(
                .invalidField, "jump", distance, at: Place.jump,
                "the header ends so many bytes behind 0x202, which must be from 0x264 to \(Self.end.hexadecimal)")
        }
        guard bytes.has(end - start, at: start) else {
            throw LaunchError(.truncated, "jump", distance, at: Place.jump, "the file ends before its header does")
        }
        return bytes[start, end - start]
    }

    private static func kernelBytes(_ bytes: ImageBytes, behind setup: UInt64) throws(LaunchError) -> UInt64 {
        guard bytes.count > setup + entryOffset else {
            throw LaunchError(
                .truncated, "setup_sects", UInt64(bytes.byte(at: Place.setupSectors)), at: Place.setupSectors,
                "the kernel begins at byte \(setup), and the file has \(bytes.count) bytes in all")
        }
        // Counted in 16 bytes, rounded up.
        let size = UInt64(bytes.word(at: Place.size))
        guard bytes.count - setup + 15 >= size * 16 else {
            throw LaunchError(
                .truncated, "syssize", size, at: Place.size,
                "the kernel has \(size * 16) bytes from byte \(setup) on, and the file has \(bytes.count) bytes in all")
        }
        return bytes.count - setup
    }

    private static func alignment(_ bytes: ImageBytes) throws(LaunchError) -> UInt64 {
        let alignment = UInt64(bytes.word(at: Place.alignment))
        guard alignment >= 0x1000, alignment & (alignment - 1) == 0 else {
            throw LaunchError(
                .invalidField, "kernel_alignment", alignment, at: Place.alignment,
                "it must be a power of two and at least a page")
        }
        return alignment
    }

    private static func memoryBytes(_ bytes: ImageBytes, _ kernelBytes: UInt64) throws(LaunchError) -> UInt64 {
        let count = UInt64(bytes.word(at: Place.memoryBytes))
        guard count >= kernelBytes else {
            throw LaunchError(
                .invalidField, "init_size", count, at: Place.memoryBytes,
                "it must not be below the \(kernelBytes) bytes that are loaded")
        }
        return count
    }

    /// The longest text that is shown.
    private static let releaseLimit: UInt64 = 256

    private static func release(_ bytes: ImageBytes) -> String? {
        let place = UInt64(bytes.half(at: Place.release))
        guard place != 0, let text = bytes.string(at: place + 0x200, end: bytes.count, limit: releaseLimit) else {
            return nil
        }
        return text.isEmpty ? nil : String(printable: text.prefix { $0 != UInt8(ascii: " ") })
    }
}
