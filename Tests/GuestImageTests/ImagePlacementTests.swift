// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import GuestImage

@Suite struct ImagePlacementTests {
    private func layout(
        _ pieces: [(UInt64, UInt64)], bytes: Int, mode: GuestMode = .real16, entry: UInt64? = 0x1000,
        load: UInt64? = nil
    ) -> Result<GuestLayout, Refusal> {
        var spec = JobSpec(mode: mode, loadAddress: load, entryPoint: entry)
        spec.pieces = pieces.map { MemoryRange(address: $0.0, count: $0.1) }
        let image = (0..<bytes).map { UInt8(truncatingIfNeeded: $0) }
        return Result { () throws(Refusal) in try GuestLayout(flat: image, spec: spec) }
    }

    private func rule(_ result: Result<GuestLayout, Refusal>) -> Refusal.Rule? {
        if case .failure(let refusal) = result { refusal.rule } else { nil }
    }

    @Test func `the image is cut up in the order of its pieces, whatever their addresses`() throws {
        let layout = try layout([(0x8000, 2), (0x1000, 3), (0x1003, 1)], bytes: 6).get()
        #expect(
            layout.pieces == [
                .init(address: 0x8000, bytes: [0, 1]), .init(address: 0x1000, bytes: [2, 3, 4]),
                .init(address: 0x1003, bytes: [5]),
            ])
        #expect(layout.registers.rip == 0x1000)
        #expect(layout.registers.rsp == 0x8000)
    }

    @Test func `the counts add up to the image, each is something, and there are not too many`() {
        #expect(rule(layout([(0x1000, 3)], bytes: 4)) == .invalidField)
        #expect(rule(layout([(0x1000, 5)], bytes: 4)) == .invalidField)
        #expect(rule(layout([(0x1000, 4), (0x2000, 0)], bytes: 4)) == .invalidField)
        #expect(rule(layout([(0x1000, 5), (0x2000, .max)], bytes: 4)) == .invalidField, "5 + .max is 4 in 64 bits")
        let many = (0..<UInt64(MemoryRange.pieceLimit)).map { (0x1000 + $0 * 2, UInt64(1)) }
        #expect(rule(layout(many, bytes: many.count)) == nil)
        #expect(rule(layout(many + [(0x9000, 1)], bytes: many.count + 1)) == .invalidField)
    }

    @Test func `no two pieces overlap, in whatever order they come`() {
        #expect(rule(layout([(0x1000, 4), (0x1003, 1)], bytes: 5)) == .invalidField)
        #expect(rule(layout([(0x1003, 1), (0x3000, 1), (0x1000, 4)], bytes: 6)) == .invalidField)
        #expect(rule(layout([(0x1000, 1), (0x1000, 1)], bytes: 2)) == .invalidField)
        #expect(rule(layout([(0x1004, 1), (0x1000, 4)], bytes: 5)) == nil, "side by side")
    }

    @Test func `a piece lies in guest memory, and never over the mode's tables`() {
        let end = JobSpec.defaultMemoryBytes
        #expect(rule(layout([(end - 4, 4)], bytes: 4)) == nil)
        #expect(rule(layout([(end - 3, 4)], bytes: 4)) == .imageOutsideMemory)
        #expect(rule(layout([(.max, 4)], bytes: 4)) == .imageOutsideMemory)
        #expect(rule(layout([(.max - 3, 4)], bytes: 4)) == .imageOutsideMemory)
        #expect(rule(layout([(0x9_0000, 4)], bytes: 4)) == nil, "real16 has no tables")
        for mode in [GuestMode.protected32, .long64, .user64] {
            let first = (UInt64(0x10_0000), UInt64(1))
            #expect(rule(layout([first, (0x8_FFFF, 2)], bytes: 3, mode: mode)) == .imageOverlapsSystemArea)
            #expect(rule(layout([first, (0x9_FFFF, 1)], bytes: 2, mode: mode)) == .imageOverlapsSystemArea)
            #expect(rule(layout([first, (0x8_FFFE, 2), (0xA_0000, 1)], bytes: 4, mode: mode)) == nil)
            #expect(
                rule(layout([first, (0xFFF, 2)], bytes: 3, mode: mode))
                    == (mode == .user64 ? .imageOverlapsSystemArea : nil))
        }
    }

    /// A job of one byte at an address, with these registers in place of the mode's own.
    private func own(
        _ mode: GuestMode, at address: UInt64, gdt: UInt64? = nil, tr: UInt64? = nil, cr3: UInt64? = nil
    ) -> Result<GuestLayout, Refusal> {
        var spec = JobSpec(mode: mode, loadAddress: address)
        if let gdt { spec.tables[.gdt] = DescriptorTable(base: gdt, limit: 0xFF) }
        if let tr {
            spec.segments[.tr] = Segment(base: tr, limit: 0x67, selector: 0, attributes: .init(type: 11, s: false))
        }
        if let cr3 { spec.controls[.cr3] = cr3 }
        return Result { () throws(Refusal) in try GuestLayout(flat: [0xF4], spec: spec) }
    }

    @Test func `a job that brings its own tables has all of memory, and none of the worker's`() throws {
        for address in [0x9_0000, 0x9_7000, 0x9_FFFF, 0x10_0000] as [UInt64] {
            let long = try own(.long64, at: address, gdt: 0x1000, tr: 0, cr3: 0x2000).get()
            #expect(long.pieces == [.init(address: address, bytes: [0xF4])])
            let protected = try own(.protected32, at: address, gdt: 0x1000, tr: 0).get()
            #expect(protected.pieces == [.init(address: address, bytes: [0xF4])])
        }
    }

    @Test func `what leads to the worker's tables keeps them there`() throws {
        let missing = try [
            own(.long64, at: 0x10_0000, tr: 0, cr3: 0x2000), own(.long64, at: 0x10_0000, gdt: 0x1000, cr3: 0x2000),
            own(.long64, at: 0x10_0000, gdt: 0x1000, tr: 0), own(.protected32, at: 0x10_0000, gdt: 0x1000),
            own(.protected32, at: 0x10_0000, tr: 0),
            // The last byte of a table, and a root with flags.
            own(.long64, at: 0x10_0000, gdt: 0x8_FF01, tr: 0, cr3: 0x2000),
            own(.long64, at: 0x10_0000, gdt: 0x1000, tr: 0x9_FFFF, cr3: 0x2000),
            own(.long64, at: 0x10_0000, gdt: 0x1000, tr: 0, cr3: 0x9_7018),
        ].map { try $0.get() }
        for layout in missing { #expect(layout.pieces.count > 1) }
        #expect(rule(own(.long64, at: 0x9_0000, gdt: 0x1000, tr: 0)) == .imageOverlapsSystemArea, "no page tables")
        let justBelow = try own(.long64, at: 0x9_0000, gdt: 0x8_FF00, tr: 0, cr3: 0x8_F018).get()
        #expect(justBelow.pieces.count == 1)
        let high = try own(.long64, at: 0x9_0000, gdt: 0xFFFF_FFFF_FFFF_FFF0, tr: 0, cr3: 0x2000).get()
        #expect(high.pieces.count == 1, "a table that ends behind the last address")
    }

    @Test func `pieces need an entry point, and leave no place for a load address`() {
        #expect(rule(layout([(0x1000, 4)], bytes: 4, entry: nil)) == .invalidField)
        #expect(rule(layout([(0x1000, 4)], bytes: 4, load: 0x1000)) == .invalidField)
        #expect(rule(layout([(0x1000, 4)], bytes: 4, entry: 0x1_0000)) == .entryOutsideMemory)
    }
}
