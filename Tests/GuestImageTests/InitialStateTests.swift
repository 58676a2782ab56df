// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import GuestImage

@Suite struct InitialStateTests {
    private func layout(
        _ mode: GuestMode, entry: UInt64? = nil, change: (inout JobSpec) -> Void
    ) -> Result<GuestLayout, Refusal> {
        var spec = JobSpec(mode: mode, entryPoint: entry)
        change(&spec)
        return Result { () throws(Refusal) in try GuestLayout(flat: [0x90], spec: spec) }
    }

    /// What a mode says to one changed control register.
    private func control(_ mode: GuestMode, _ name: ControlName, _ value: UInt64) -> Refusal.Rule? {
        rule(layout(mode) { $0.controls[name] = value })
    }

    /// What a mode says to its own segment, changed.
    private func segment(_ mode: GuestMode, _ name: SegmentName, _ change: (inout Segment) -> Void) -> Refusal.Rule? {
        var segment = SystemArea.systemRegisters(for: mode)[keyPath: name.keyPath]
        change(&segment)
        return rule(layout(mode) { $0.segments[name] = segment })
    }

    private func rule(_ result: Result<GuestLayout, Refusal>) -> Refusal.Rule? {
        if case .failure(let refusal) = result { refusal.rule } else { nil }
    }

    @Test(arguments: [GuestMode.real16, .protected32, .long64])
    func `a mode's own state keeps every rule`(mode: GuestMode) throws {
        try InitialState.check(SystemArea.systemRegisters(for: mode), mode: mode)
    }

    @Test func `what the job sets is what the vCPU starts with`() throws {
        let segment = Segment(base: 0x2_0000, limit: 0xFFFF, selector: 0x2000, attributes: .init(type: 3, s: true))
        let layout = try layout(.real16) {
            $0.segments[.ds] = segment
            $0.tables[.idt] = DescriptorTable(base: 0x1000, limit: 7)
            $0.controls[.cr2] = 5
        }.get()
        var expected = SystemArea.systemRegisters(for: .real16)
        (expected.ds, expected.idt, expected.cr2) = (segment, DescriptorTable(base: 0x1000, limit: 7), 5)
        #expect(layout.system == expected)
        #expect(!layout.fixesCR4)
        #expect(try self.layout(.long64) { $0.controls[.cr4] = 0x20 }.get().fixesCR4)
    }

    @Test func `a mode is what its control registers say`() {
        #expect(control(.real16, .cr0, 0x10) == nil)
        #expect(control(.real16, .cr0, 0x11) == .invalidField, "PE")
        #expect(control(.real16, .cr0, 0x8000_0011) == .invalidField, "PG")
        #expect(control(.real16, .efer, 0x100) == nil, "LME alone")
        #expect(control(.real16, .efer, 0x500) == .invalidField, "LMA without paging")
        #expect(control(.protected32, .cr0, 0x10) == .invalidField)
        #expect(control(.protected32, .cr0, 0x8000_0011) == nil, "paging by tables of its own")
        let longMode = layout(.protected32) { $0.controls = [.cr0: 0x8000_0011, .cr4: 0x20, .efer: 0x500] }
        #expect(rule(longMode) == .invalidField)
        #expect(control(.long64, .cr0, 0x11) == .invalidField)
        #expect(control(.long64, .cr4, 0) == .invalidField, "PAE")
        #expect(control(.long64, .efer, 0xC00) == .invalidField, "LME")
        #expect(control(.long64, .efer, 0x500) == nil, "without NXE")
    }

    @Test func `bits that no job may set are refused`() {
        #expect(control(.real16, .cr0, 0x40) == .invalidField)
        #expect(control(.real16, .cr0, 1 << 32) == .invalidField)
        #expect(control(.real16, .cr0, 0x2000_0010) == .invalidField, "NW without CD")
        #expect(control(.real16, .cr0, 0x6000_0010) == nil)
        #expect(control(.protected32, .cr4, 1 << 13) == .invalidField, "VMXE")
        #expect(control(.protected32, .cr4, 1 << 17) == .invalidField, "PCIDE outside long mode")
        #expect(control(.protected32, .cr3, 1 << 32) == .invalidField)
        #expect(control(.long64, .cr3, 1 << 52) == .invalidField)
        #expect(control(.long64, .cr3, 1 << 40) == nil)
        #expect(control(.long64, .efer, 0x1D00) == .invalidField, "SVME")
        #expect(control(.long64, .cr8, 15) == nil)
        #expect(control(.long64, .cr8, 16) == .invalidField)
        #expect(control(.long64, .cr2, .max) == nil)
    }

    @Test func `a segment is one that its register can hold`() {
        #expect(segment(.real16, .cs) { $0.attributes = .init(type: 3, s: true) } == .invalidField)
        #expect(segment(.real16, .cs) { $0.attributes = .init(type: 10, s: true) } == .invalidField, "not accessed")
        #expect(segment(.real16, .cs) { $0.attributes = .unusable } == .invalidField)
        #expect(segment(.real16, .cs) { $0.attributes.rawValue &= ~0x80 } == .invalidField, "not present")
        #expect(segment(.real16, .cs) { $0.attributes.rawValue |= 0x200 } == .invalidField, "L")
        #expect(segment(.long64, .cs) { $0.attributes.rawValue |= 0x400 } == .invalidField, "L and D")
        #expect(segment(.long64, .cs) { $0.attributes.rawValue = 0xC9B } == nil, "compatibility mode")
        for mode in [GuestMode.real16, .protected32, .long64] {
            #expect(segment(mode, .cs) { $0.attributes.rawValue |= 0x60 } == .invalidField, "ring 3")
            #expect(segment(mode, .ss) { $0.attributes.rawValue |= 0x60 } == .invalidField, "ring 3")
            #expect(segment(mode, .ds) { $0.attributes = .unusable } == nil)
            #expect(segment(mode, .tr) { $0.attributes = .unusable } == .invalidField)
            #expect(segment(mode, .tr) { $0.attributes = .init(type: 9, s: false) } == .invalidField, "not busy")
            #expect(segment(mode, .ldt) { $0.attributes = .init(type: 3, s: true) } == .invalidField)
            #expect(segment(mode, .ss) { $0.attributes.rawValue &= ~2 } == .invalidField, "read-only")
            #expect(segment(mode, .es) { $0.attributes.rawValue &= ~1 } == .invalidField, "not accessed")
        }
        #expect(segment(.protected32, .ss) { $0.attributes = .unusable } == .invalidField)
        #expect(segment(.long64, .ss) { $0.attributes = .unusable } == nil)
    }

    @Test func `a base can be an address, and a limit counts what G says`() {
        #expect(segment(.real16, .ds) { $0.base = 0xFFFF_0000 } == nil)
        #expect(segment(.real16, .ds) { $0.base = 1 << 32 } == .invalidField)
        #expect(segment(.long64, .ds) { $0.base = 1 << 32 } == .invalidField)
        #expect(segment(.long64, .fs) { $0.base = 0xFFFF_8000_0000_0000 } == nil)
        #expect(segment(.long64, .gs) { $0.base = 0x8000_0000_0000 } == .invalidField, "not canonical")
        #expect(segment(.real16, .ds) { $0.limit = 0xF_FFFF } == nil)
        #expect(segment(.real16, .ds) { $0.limit = 0x10_0000 } == .invalidField)
        #expect(segment(.protected32, .ds) { $0.limit = 0x1000 } == .invalidField)
        #expect(segment(.protected32, .ds) { $0.limit = 0x1FFF } == nil)
        #expect(rule(layout(.long64) { $0.tables[.gdt] = .init(base: 1 << 47, limit: 0) }) == .invalidField)
        #expect(rule(layout(.protected32) { $0.tables[.idt] = .init(base: 1 << 32, limit: 0) }) == .invalidField)
    }

    @Test func `a user64 program sets its thread pointers and no more`() {
        #expect(segment(.user64, .fs) { $0.base = 0x7FFF_FFFF_F000 } == nil)
        #expect(segment(.user64, .gs) { $0.base = 0xFFFF_8000_0000_0000 } == nil)
        #expect(segment(.user64, .fs) { $0.base = 0x8000_0000_0000 } == .invalidField)
        #expect(segment(.user64, .fs) { $0.selector = 0 } == .invalidField)
        #expect(segment(.user64, .cs) { $0.attributes.rawValue &= ~0x60 } == .invalidField, "ring 0")
        #expect(segment(.user64, .tr) { $0.base = 0x10_0000 } == .invalidField)
        #expect(control(.user64, .cr3, 0x10_0000) == .invalidField)
        #expect(control(.user64, .cr4, 0x20) == .invalidField)
        #expect(control(.user64, .efer, 0xD01) == .invalidField, "SYSCALL")
        #expect(rule(layout(.user64) { $0.tables[.idt] = .init(base: 0x10_0000, limit: 0xFFF) }) == .invalidField)
    }

    @Test func `the first instruction is in memory, at the code segment's base and beyond 1 MiB too`() {
        func entry(_ base: UInt64, _ entry: UInt64, memory: UInt64 = 1 << 20) -> Refusal.Rule? {
            var segment = SystemArea.systemRegisters(for: .real16).cs
            (segment.base, segment.selector) = (base, UInt16(truncatingIfNeeded: base >> 4))
            return rule(
                layout(.real16, entry: entry) {
                    $0.segments[.cs] = segment
                    $0.memoryBytes = memory
                })
        }
        #expect(entry(0xF_0000, 0xFFFF) == nil)
        #expect(entry(0xF_0010, 0xFFFF) == .entryOutsideMemory, "no wrap at 1 MiB")
        #expect(entry(0xF_FFF0, 0xFFFF, memory: 0x11_0000) == nil)
        #expect(entry(0, 0x1_0000, memory: 0x11_0000) == .entryOutsideMemory, "64 KiB is a segment's reach")
        #expect(entry(0xFFFF_0000, 0xFFF0) == .entryOutsideMemory)
        #expect(
            rule(layout(.long64, entry: .max) { $0.controls[.cr3] = 0x20_0000 }) == nil,
            "by tables of its own it can be anywhere")
        #expect(rule(layout(.long64, entry: .max) { _ in }) == .entryOutsideMemory)
    }
}
