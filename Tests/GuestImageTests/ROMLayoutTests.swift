// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import GuestImage
import JobModel
import Testing

@Suite("A ROM's layout")
struct ROMLayoutTests {
    private static func layout(
        _ count: Int, _ change: (inout JobSpec) -> Void = { _ in }
    ) throws(Refusal) -> GuestLayout {
        var spec = JobSpec(memoryBytes: 1 << 20)
        (spec.board, spec.isROM) = (.pc, true)
        change(&spec)
        return try GuestLayout(rom: (0..<count).map { UInt8(truncatingIfNeeded: $0 >> 12) }, spec: spec)
    }

    private static func refusal(_ count: Int, _ change: (inout JobSpec) -> Void = { _ in }) -> Refusal? {
        do throws(Refusal) {
            _ = try layout(count, change)
            return nil
        } catch {
            return error
        }
    }

    @Test("The processor starts 16 bytes before its end, as behind a reset")
    func reset() throws {
        let layout = try Self.layout(1 << 18)
        #expect(layout.mode == .real16)
        #expect(layout.registers.rip == 0xFFF0)
        #expect(layout.system.cs.selector == 0xF000)
        #expect(layout.system.cs.base == 0xFFFF_0000)
        #expect(layout.rom.count == 1 << 18)
    }

    @Test(
        "Its last 128 KiB, or all of a smaller one, lie below 1 MiB too",
        arguments: [(1 << 16, 0xF0000), (1 << 17, 0xE0000), (1 << 22, 0xE0000)] as [(Int, UInt64)])
    func shadow(count: Int, address: UInt64) throws {
        let layout = try Self.layout(count)
        #expect(layout.pieces.map(\.address) == [address])
        #expect(layout.pieces[0].bytes == Array(layout.rom.suffix(Int((1 << 20) - address))))
    }

    @Test("A size that is none of a ROM is refused with it", arguments: [0, 4096, 61_440, 65_537, 4_198_400])
    func sizes(count: Int) {
        let refusal = Self.refusal(count)
        #expect(refusal?.rule == .invalidField)
        #expect(refusal?.value == UInt64(count))
    }

    @Test("A place, a start and a mode of the job's own are refused")
    func starts() {
        #expect(Self.refusal(1 << 16) { $0.loadAddress = 0x1000 }?.value == 0x1000)
        #expect(Self.refusal(1 << 16) { $0.entryPoint = 0x2000 }?.value == 0x2000)
        #expect(Self.refusal(1 << 16) { $0.pieces = [MemoryRange(address: 0x3000, count: 1 << 16)] }?.value == 0x3000)
        #expect(Self.refusal(1 << 16) { $0.controls = [.cr0: 0x10] }?.rule == .invalidField)
        #expect(Self.refusal(1 << 16) { $0.mode = .long64 }?.message.contains("long64") == true)
        #expect(Self.refusal(1 << 16) { $0.memoryBytes = 4096 }?.rule == .memorySize)
    }

    @Test("General registers are the job's")
    func registers() throws {
        let layout = try Self.layout(1 << 16) { $0.registers = [.rdx: 0x600] }
        #expect(layout.registers.rdx == 0x600)
    }
}
