// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import GuestImage

@Suite("Layouts of flat images")
struct GuestLayoutTests {
    private func refusal(_ image: [UInt8], _ spec: JobSpec) -> Refusal? {
        do throws(Refusal) {
            _ = try GuestLayout(flat: image, spec: spec)
            return nil
        } catch { return error }
    }

    @Test("Each mode has its load address, entry and stack")
    func defaults() throws {
        let real = try GuestLayout(flat: [0xF4], spec: JobSpec())
        #expect(real.pieces == [.init(address: 0x1000, bytes: [0xF4])])
        #expect(real.registers.rip == 0x1000)
        #expect(real.registers.rsp == 0x1000)
        for mode in [GuestMode.protected32, .long64, .user64] {
            let layout = try GuestLayout(flat: [0xF4], spec: JobSpec(mode: mode))
            #expect(layout.pieces.last == .init(address: 0x10_0000, bytes: [0xF4]))
            #expect(layout.registers.rip == 0x10_0000)
            #expect(layout.registers.rsp == JobSpec.defaultMemoryBytes)
        }
    }

    @Test("512 bytes that end in 55 AA are a boot sector, and nothing else is")
    func bootSector() throws {
        var sector = [UInt8](repeating: 0x90, count: 512)
        #expect(try GuestLayout(flat: sector, spec: JobSpec()).registers.rip == 0x1000)
        (sector[510], sector[511]) = (0x55, 0xAA)
        let layout = try GuestLayout(flat: sector, spec: JobSpec())
        #expect(layout.registers.rip == 0x7C00)
        #expect(layout.registers.rsp == 0x7C00)
        #expect(try GuestLayout(flat: sector + [0], spec: JobSpec()).registers.rip == 0x1000)
        #expect(try GuestLayout(flat: sector, spec: JobSpec(mode: .long64)).registers.rip == 0x10_0000)
    }

    @Test("The job's own registers, load address and entry win")
    func overrides() throws {
        let spec = JobSpec(loadAddress: 0x2000, entryPoint: 0x2002, registers: [.rax: 7, .rsp: 0x9000, .rflags: 0x200])
        let layout = try GuestLayout(flat: [0x90, 0x90, 0xF4], spec: spec)
        #expect(layout.registers.rip == 0x2002)
        #expect(layout.registers.rax == 7)
        #expect(layout.registers.rsp == 0x9000)
        #expect(layout.registers.rflags == 0x202, "bit 1 is always one")
    }

    @Test("What does not fit is refused with the rule it broke")
    func refusals() {
        #expect(refusal([], JobSpec())?.rule == .imageEmpty)
        #expect(refusal([0xF4], JobSpec(memoryBytes: (1 << 20) - 4096))?.rule == .memorySize)
        #expect(refusal([0xF4], JobSpec(memoryBytes: (1 << 30) + 4096))?.rule == .memorySize)
        #expect(refusal([0xF4], JobSpec(memoryBytes: (1 << 20) + 1))?.rule == .memorySize)
        #expect(refusal([0xF4], JobSpec(mode: .long64, memoryBytes: 1 << 20))?.rule == .imageOutsideMemory)
        #expect(refusal([0xF4], JobSpec(loadAddress: .max))?.rule == .imageOutsideMemory)
        #expect(refusal([0xF4, 0xF4], JobSpec(loadAddress: (16 << 20) - 1))?.rule == .imageOutsideMemory)
        #expect(refusal([0xF4], JobSpec(loadAddress: 0x1_0000))?.rule == .entryOutsideMemory, "CS is 0")
        #expect(refusal([0xF4], JobSpec(mode: .long64, entryPoint: 16 << 20))?.rule == .entryOutsideMemory)
        #expect(refusal([0xF4], JobSpec(mode: .user64, loadAddress: 0x9_FFFF))?.rule == .imageOverlapsSystemArea)
        #expect(refusal([0xF4, 0xF4], JobSpec(mode: .user64, loadAddress: 0x8_FFFF))?.rule == .imageOverlapsSystemArea)
        #expect(refusal([0xF4], JobSpec(mode: .user64, loadAddress: 0xFFF))?.rule == .imageOverlapsSystemArea)
        #expect(refusal([0xF4], JobSpec(mode: .user64, loadAddress: 0x1000)) == nil)
        #expect(refusal([0xF4], JobSpec(mode: .user64, loadAddress: 0xA_0000)) == nil)
        #expect(refusal([0xF4], JobSpec(registers: [.rip: 1]))?.rule == .invalidField)
        #expect(refusal([0xF4], JobSpec(registers: [.rflags: 1 << 17]))?.rule == .invalidField, "RFLAGS.VM")
    }

    @Test("No two pieces overlap, and all lie in the system area or the image", arguments: GuestMode.imageModes)
    func pieces(mode: GuestMode) throws {
        let spec = JobSpec(mode: mode, memoryBytes: 2 << 20)
        let pieces = try GuestLayout(flat: [0xF4], spec: spec).pieces.sorted { $0.address < $1.address }
        for (before, after) in zip(pieces, pieces.dropFirst()) {
            #expect(before.address + UInt64(before.bytes.count) <= after.address)
        }
        for piece in pieces.dropLast() {
            #expect(piece.address >= SystemArea.start)
            #expect(piece.address + UInt64(piece.bytes.count) <= SystemArea.end)
        }
    }
}
