// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What tells firmware about its machine: QEMU's fw_cfg, by ports and without DMA.
///
/// | port | read | write |
/// |---|---|---|
/// | 0x510 | – | 2 bytes: the item's number; reading begins at its first byte |
/// | 0x511 | the item's next byte; zeros behind its end, and of an item that is not there | – |
///
/// | item | bytes | content |
/// |---|---|---|
/// | 0x0000 | 4 | `QEMU` |
/// | 0x0001 | 4 | features: 1, the ports above |
/// | 0x0003 | 8 | guest memory in bytes |
/// | 0x0004 | 2 | whether the serial port is the console: 0, since SeaBIOS then writes all that it says twice |
/// | 0x0005, 0x000F | 2 | processors, and the most there can be |
/// | 0x0019 | 4 + 64 each | the directory of files, big-endian: count; of each size, item, 2 bytes of zeros, name of 56 bytes |
/// | 0x8002 | 1 | the timer's interrupt 0 is the I/O APIC's input 2: 1 |
/// | 0x0020 … | | the files |
///
/// | file | content |
/// |---|---|
/// | `etc/boot-fail-wait` | milliseconds that firmware waits before it resets a machine that has nothing to boot: 0 |
/// | `etc/e820` | 20 bytes for each range of addresses: base, length, type 1 memory or 2 reserved: guest memory, and the ROM |
///
/// Numbers are little-endian but where it says otherwise. Source: QEMU's `docs/specs/fw_cfg.rst`.
struct FirmwareConfiguration: Sendable, Equatable {
    /// The item's number, 2 bytes.
    static let selectorPort: UInt16 = 0x510
    /// The item's bytes.
    static let dataPort: UInt16 = 0x511

    private static let directory: UInt16 = 0x19
    private static let firstFile: UInt16 = 0x20
    private static let nameBytes = 56
    /// Types of ranges in `etc/e820`.
    private static let (memoryType, reservedType): (UInt32, UInt32) = (1, 2)
    private static let endOfROM: UInt64 = 1 << 32

    private var items: [UInt16: [UInt8]]
    private var selected: [UInt8] = []
    private var offset = 0

    /// - Parameters:
    ///   - memoryBytes: guest memory, from address 0.
    ///   - romBytes: the ROM, to the end of 4 GiB; 0 for none.
    init(memoryBytes: UInt64, romBytes: UInt64, processors: UInt16 = 1) {
        items = [
            0x0000: Array("QEMU".utf8), 0x0001: UInt32(1).littleEndianBytes, 0x0003: memoryBytes.littleEndianBytes,
            0x0004: UInt16(0).littleEndianBytes, 0x0005: processors.littleEndianBytes,
            0x000F: processors.littleEndianBytes, 0x8002: [1],
        ]
        var map = Self.range(base: 0, bytes: memoryBytes, type: Self.memoryType)
        if romBytes > 0 { map += Self.range(base: Self.endOfROM - romBytes, bytes: romBytes, type: Self.reservedType) }
        add([("etc/boot-fail-wait", UInt32(0).littleEndianBytes), ("etc/e820", map)])
    }

    private static func range(base: UInt64, bytes: UInt64, type: UInt32) -> [UInt8] {
        base.littleEndianBytes + bytes.littleEndianBytes + type.littleEndianBytes
    }

    /// - Parameter files: sorted by name, as firmware expects; names of less than 56 bytes.
    private mutating func add(_ files: [(name: String, bytes: [UInt8])]) {
        var listing = UInt32(files.count).bigEndianBytes
        for (item, file) in zip(Self.firstFile..., files) {
            let name = Array(file.name.utf8.prefix(Self.nameBytes - 1))
            listing += UInt32(file.bytes.count).bigEndianBytes + item.bigEndianBytes + [0, 0] + name
            listing += [UInt8](repeating: 0, count: Self.nameBytes - name.count)
            items[item] = file.bytes
        }
        items[Self.directory] = listing
    }

    /// The first port.
    mutating func select(_ item: UInt16) { (selected, offset) = (items[item] ?? [], 0) }

    /// The second port.
    mutating func read() -> UInt8 {
        guard offset < selected.count else { return 0 }
        defer { offset += 1 }
        return selected[offset]
    }
}

extension FixedWidthInteger {
    /// Its bytes, the least first.
    fileprivate var littleEndianBytes: [UInt8] {
        (0..<Self.bitWidth / 8).map { UInt8(truncatingIfNeeded: self >> ($0 * 8)) }
    }

    fileprivate var bigEndianBytes: [UInt8] { littleEndianBytes.reversed() }
}
