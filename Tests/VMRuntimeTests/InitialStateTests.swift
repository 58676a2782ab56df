// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import GuestImage
import JobModel
import Testing

@testable import VMRuntime

@Suite(.enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct InitialStateTests {
    /// Bits of RFLAGS that a mode's guest sees as they were set. TF is the stepper's while instructions are counted.
    private static let flags: UInt64 = 0xCD5

    /// A value for each general register, told apart by its number, as wide as the mode has them.
    private static func registers(width: UInt64) -> [RegisterName: UInt64] {
        var values: [RegisterName: UInt64] = [.rflags: flags]
        for name in RegisterName.allCases where name != .rip && name != .rflags {
            values[name] = (0x1122_3344_5566_7700 + UInt64(name.rawValue)) & width
        }
        return values
    }

    /// Runs one NOP at this linear address.
    private func step(_ spec: JobSpec, at address: UInt64) async throws -> JobResult {
        var spec = spec
        spec.pieces = [MemoryRange(address: address, count: 1)]
        spec.budget.steps = 1
        let result = try await Run.of([0x90], spec).result
        #expect(result.outcome == .exhausted(.steps, limit: 1, used: 1))
        return result
    }

    private func expect(_ result: JobResult, has spec: JobSpec) throws {
        let registers = try #require(result.registers)
        let system = try #require(result.system)
        #expect(registers.rip == (spec.entryPoint ?? 0) + 1)
        for (name, value) in spec.registers {
            #expect(registers[name] == (name == .rflags ? value | 2 : value), "\(name.name)")
        }
        for (name, segment) in spec.segments { #expect(system[keyPath: name.keyPath] == segment, "\(name.name)") }
        for (name, table) in spec.tables { #expect(system[keyPath: name.keyPath] == table, "\(name.name)") }
        for (name, value) in spec.controls { #expect(system[keyPath: name.keyPath] == value, "\(name.name)") }
    }

    @Test func `real16 starts with every register, segment and table as the job says`() async throws {
        var spec = JobSpec(mode: .real16, entryPoint: 0x0123, registers: Self.registers(width: 0xFFFF_FFFF))
        let data = SegmentAttributes(type: 3, s: true)
        let selectors: [SegmentName: UInt16] = [.ds: 0x2000, .es: 0x3000, .fs: 0x4000, .gs: 0xFFFF, .ss: 1]
        for (name, selector) in selectors {
            spec.segments[name] = Segment(
                base: UInt64(selector) << 4, limit: 0xFFFF, selector: selector, attributes: data)
        }
        spec.segments[.cs] = Segment(
            base: 0xF_FFF0, limit: 0xFFFF, selector: 0xFFFF, attributes: .init(type: 11, s: true))
        spec.tables = [.gdt: .init(base: 0x1234, limit: 0x17), .idt: .init(base: 0x5000, limit: 0x3FF)]
        spec.controls = [.cr2: 0xABCD]
        let result = try await step(spec, at: 0xF_FFF0 + 0x123)
        try expect(result, has: spec)
    }

    @Test func `protected32 starts with segments of its own, and its code at the segment's base`() async throws {
        var spec = JobSpec(mode: .protected32, entryPoint: 0x10, registers: Self.registers(width: 0xFFFF_FFFF))
        let code = SegmentAttributes(type: 11, s: true, db: true)
        spec.segments[.cs] = Segment(base: 0x20_0000, limit: 0xFFFFF, selector: 0x18, attributes: code)
        let data = SegmentAttributes(type: 3, s: true, db: true, g: true)
        for (index, name) in [SegmentName.ds, .es, .fs, .gs, .ss].enumerated() {
            spec.segments[name] = Segment(
                base: UInt64(index) << 16, limit: 0xFFF_FFFF, selector: UInt16(0x20 + index * 8), attributes: data)
        }
        spec.tables = [.gdt: .init(base: 0x30_0000, limit: 0x7F), .idt: .init(base: 0x30_1000, limit: 0x7FF)]
        spec.controls = [.cr0: 0x31, .cr2: 0x1234_5678, .cr3: 0x5000, .cr4: 0x600]
        let result = try await step(spec, at: 0x20_0010)
        try expect(result, has: spec)
    }

    @Test func `long64 starts with every register, and with control registers of its own`() async throws {
        var spec = JobSpec(mode: .long64, entryPoint: 0x10_0000, registers: Self.registers(width: .max))
        let data = SegmentAttributes(type: 3, s: true, db: true, g: true)
        spec.segments[.fs] = Segment(base: 0xFFFF_8000_0000_1000, limit: .max, selector: 0, attributes: data)
        spec.segments[.gs] = Segment(base: 0x7FFF_0000_2000, limit: .max, selector: 0, attributes: data)
        spec.tables = [.idt: .init(base: 0xFFFF_8000_0000_0000, limit: 0xFFF)]
        spec.controls = [.cr2: 0xDEAD_BEEF_0000, .cr4: 0x20]
        let result = try await step(spec, at: 0x10_0000)
        try expect(result, has: spec)
    }

    @Test func `user64 starts with every register and both thread pointers as the job says`() async throws {
        var spec = JobSpec(mode: .user64, entryPoint: 0x10_0000, registers: Self.registers(width: .max))
        let start = SystemArea.systemRegisters(for: .user64)
        for (name, base) in [(SegmentName.fs, UInt64(0x1000)), (.gs, 0x7FFF_FFFF_F000)] {
            var segment = start[keyPath: name.keyPath]
            segment.base = base
            spec.segments[name] = segment
        }
        let result = try await step(spec, at: 0x10_0000)
        try expect(result, has: spec)
    }

    @Test func `an image in pieces is where its pieces say, and the rest is zero`() async throws {
        // At 0x1000: mov al, [0x8000]; add al, [0x8001]; hlt
        var spec = JobSpec(entryPoint: 0x1000, budget: Budget(steps: 10))
        let code = hex("a0 00 80 02 06 01 80 f4")
        spec.pieces = [MemoryRange(address: 0x8000, count: 1), MemoryRange(address: 0x1000, count: UInt64(code.count))]
        let result = try await Run.of([0x2A] + code, spec).result
        #expect(result.outcome == .halted)
        #expect(result.steps == 3)
        #expect(result.registers?.rax == 0x2A)
        #expect(result.registers?.rsp == 0x8000, "the address of the first piece")
    }

    @Test func `state that only this processor refuses is told as such`() async throws {
        var spec = JobSpec(mode: .long64)
        // An address of 52 bits, which takes more physical address lines than today's processors have.
        spec.controls = [.cr3: 0xF_FFFF_FFFF_F000]
        let result = try await Run.of([0x90], spec).result
        guard case .hostError(let text) = result.outcome else {
            Issue.record("ended as \(result.outcome)")
            return
        }
        #expect(text.contains("KVM_SET_SREGS refused"))
    }
}
