// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel

/// Takes numbers off the front of a block whose size has been checked.
struct BlockReader {
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
    init(wire: ArraySlice<UInt8>) {
        var block = BlockReader(rest: wire)
        self.init()
        for path in Self.segments { self[keyPath: path] = Segment(&block) }
        for path in Self.tables { self[keyPath: path] = DescriptorTable(&block) }
        for path in Self.values { self[keyPath: path] = block.next() }
    }

    var wire: [UInt8] {
        var bytes: [UInt8] = []
        for path in Self.segments { bytes += self[keyPath: path].wire }
        for path in Self.tables { bytes += self[keyPath: path].wire }
        for path in Self.values { bytes.append(bigEndian: self[keyPath: path]) }
        return bytes
    }
}

extension Segment {
    static let wireSize = 16
    /// The attribute bits that mean something.
    static let attributeBits: UInt16 = 0x1FFF

    init(_ block: inout BlockReader) {
        self.init(
            base: block.next(), limit: block.next(), selector: block.next(),
            attributes: SegmentAttributes(rawValue: block.next() & Self.attributeBits))
    }

    var wire: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: base)
        bytes.append(bigEndian: limit)
        bytes.append(bigEndian: selector)
        bytes.append(bigEndian: attributes.rawValue & Self.attributeBits)
        return bytes
    }
}

extension DescriptorTable {
    static let wireSize = 10

    init(_ block: inout BlockReader) { self.init(base: block.next(), limit: block.next()) }

    var wire: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: base)
        bytes.append(bigEndian: limit)
        return bytes
    }
}
