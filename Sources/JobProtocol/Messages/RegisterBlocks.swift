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

extension ExitCounts: WireBlock {
    static let wireSize = 40

    init(wire: ArraySlice<UInt8>) {
        var block = BlockReader(rest: wire)
        self.init()
        (io, mmio, debug, interrupted, other) = (block.next(), block.next(), block.next(), block.next(), block.next())
    }

    func put(in bytes: inout ByteWriter) {
        bytes.put(io)
        bytes.put(mmio)
        bytes.put(debug)
        bytes.put(interrupted)
        bytes.put(other)
    }
}

extension Registers: WireBlock {
    static let wireSize = 144

    init(wire: ArraySlice<UInt8>) {
        var block = BlockReader(rest: wire)
        self.init()
        for name in RegisterName.allCases { self[name] = block.next() }
    }

    func put(in bytes: inout ByteWriter) {
        // By name, not by key path: every job's result has them.
        bytes.put(rax)
        bytes.put(rbx)
        bytes.put(rcx)
        bytes.put(rdx)
        bytes.put(rsi)
        bytes.put(rdi)
        bytes.put(rbp)
        bytes.put(rsp)
        bytes.put(r8)
        bytes.put(r9)
        bytes.put(r10)
        bytes.put(r11)
        bytes.put(r12)
        bytes.put(r13)
        bytes.put(r14)
        bytes.put(r15)
        bytes.put(rip)
        bytes.put(rflags)
    }
}

extension SystemRegisters: WireBlock {
    static let wireSize = 204

    init(wire: ArraySlice<UInt8>) {
        var block = BlockReader(rest: wire)
        self.init()
        (cs, ds, es, fs) = (Segment(&block), Segment(&block), Segment(&block), Segment(&block))
        (gs, ss, tr, ldt) = (Segment(&block), Segment(&block), Segment(&block), Segment(&block))
        (gdt, idt) = (DescriptorTable(&block), DescriptorTable(&block))
        (cr0, cr2, cr3, cr4) = (block.next(), block.next(), block.next(), block.next())
        (cr8, efer, apicBase) = (block.next(), block.next(), block.next())
    }

    func put(in bytes: inout ByteWriter) {
        cs.put(in: &bytes)
        ds.put(in: &bytes)
        es.put(in: &bytes)
        fs.put(in: &bytes)
        gs.put(in: &bytes)
        ss.put(in: &bytes)
        tr.put(in: &bytes)
        ldt.put(in: &bytes)
        gdt.put(in: &bytes)
        idt.put(in: &bytes)
        bytes.put(cr0)
        bytes.put(cr2)
        bytes.put(cr3)
        bytes.put(cr4)
        bytes.put(cr8)
        bytes.put(efer)
        bytes.put(apicBase)
    }
}

extension Segment: WireBlock {
    static let wireSize = 16
    /// The attribute bits that mean something.
    static let attributeBits: UInt16 = 0x1FFF

    init(_ block: inout BlockReader) {
        self.init(
            base: block.next(), limit: block.next(), selector: block.next(),
            attributes: SegmentAttributes(rawValue: block.next() & Self.attributeBits))
    }

    func put(in bytes: inout ByteWriter) {
        bytes.put(base)
        bytes.put(limit)
        bytes.put(selector)
        bytes.put(attributes.rawValue & Self.attributeBits)
    }
}

extension DescriptorTable: WireBlock {
    static let wireSize = 10

    init(_ block: inout BlockReader) { self.init(base: block.next(), limit: block.next()) }

    func put(in bytes: inout ByteWriter) {
        bytes.put(base)
        bytes.put(limit)
    }
}
