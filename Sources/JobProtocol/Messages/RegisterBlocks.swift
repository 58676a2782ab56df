// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

/// Reads numbers one after another from a block whose size was checked.
private struct BlockReader {
    var rest: ArraySlice<UInt8>

    mutating func next<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type = T.self) -> T {
        let size = T.bitWidth / 8
        defer { rest = rest.dropFirst(size) }
        return T(bigEndianBytes: rest.prefix(size))
    }
}

extension ExitCounts {
    static let wireSize = 40

    init(wire: ArraySlice<UInt8>) {
        var block = BlockReader(rest: wire)
        self.init()
        (io, mmio, debug, interrupted, other) = (block.next(), block.next(), block.next(), block.next(), block.next())
    }

    var wire: [UInt8] {
        var bytes: [UInt8] = []
        for count in [io, mmio, debug, interrupted, other] { bytes.append(bigEndian: count) }
        return bytes
    }
}

extension Registers {
    static let wireSize = 144

    init(wire: ArraySlice<UInt8>) {
        var block = BlockReader(rest: wire)
        self.init()
        for name in RegisterName.allCases { self[name] = block.next() }
    }

    var wire: [UInt8] {
        var bytes: [UInt8] = []
        for name in RegisterName.allCases { bytes.append(bigEndian: self[name]) }
        return bytes
    }
}

extension SystemRegisters {
    static let wireSize = 204

    private static var segments: [WritableKeyPath<SystemRegisters, Segment>] {
        [\.cs, \.ds, \.es, \.fs, \.gs, \.ss, \.tr, \.ldt]
    }
    private static var tables: [WritableKeyPath<SystemRegisters, DescriptorTable>] { [\.gdt, \.idt] }
    private static var values: [WritableKeyPath<SystemRegisters, UInt64>] {
        [\.cr0, \.cr2, \.cr3, \.cr4, \.cr8, \.efer, \.apicBase]
    }
    /// The attribute bits that mean something.
    private static let attributeBits: UInt16 = 0x1FFF

    init(wire: ArraySlice<UInt8>) {
        var block = BlockReader(rest: wire)
        self.init()
        for path in Self.segments {
            self[keyPath: path] = Segment(
                base: block.next(), limit: block.next(), selector: block.next(),
                attributes: SegmentAttributes(rawValue: block.next() & Self.attributeBits))
        }
        for path in Self.tables { self[keyPath: path] = DescriptorTable(base: block.next(), limit: block.next()) }
        for path in Self.values { self[keyPath: path] = block.next() }
    }

    var wire: [UInt8] {
        var bytes: [UInt8] = []
        for path in Self.segments {
            let segment = self[keyPath: path]
            bytes.append(bigEndian: segment.base)
            bytes.append(bigEndian: segment.limit)
            bytes.append(bigEndian: segment.selector)
            bytes.append(bigEndian: segment.attributes.rawValue & Self.attributeBits)
        }
        for path in Self.tables {
            bytes.append(bigEndian: self[keyPath: path].base)
            bytes.append(bigEndian: self[keyPath: path].limit)
        }
        for path in Self.values { bytes.append(bigEndian: self[keyPath: path]) }
        return bytes
    }
}
