// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import GuestImage

@Suite struct PlainLaunchTests {
    private let sector = [UInt8](repeating: 0x90, count: 510) + [0x55, 0xAA]

    @Test func `a flat image goes to its mode's place, or where it is told to`() throws {
        let plan = try LaunchPlan([0xF4])
        #expect(plan.format == .flat && plan.entryPoint == 0x1000 && plan.map.regions.map(\.address) == [0x1000])
        var options = LaunchOptions()
        options.mode = .long64
        #expect(try LaunchPlan([0xF4], options).entryPoint == 0x10_0000)
        (options.loadAddress, options.entryPoint) = (0x20_0000, 0x20_0001)
        let told = try LaunchPlan([0x90, 0xF4], options)
        #expect(told.map.regions.map(\.address) == [0x20_0000] && told.entryPoint == 0x20_0001)
        #expect(told.tables.isEmpty && told.segments.isEmpty, "the mode's own")
        options.loadAddress = .max
        #expect(Wrong.of([0xF4], options) == Wrong(.outsideMemory, "--load", .max))
        #expect(Wrong.of([]) == Wrong(.truncated, "size", 0))
    }

    @Test func `a boot sector is the first 512 bytes of a disk`() throws {
        let plan = try LaunchPlan(sector)
        #expect(plan.format == .bootSector && plan.entryPoint == 0x7C00 && plan.notes.isEmpty)
        let disk = try LaunchPlan(sector + [1, 2, 3], LaunchOptions(format: .bootSector))
        #expect(disk.map.regions.map(\.count) == [512] && disk.notes.first?.contains("other 3 bytes") == true)
        #expect(try LaunchPlan(sector, LaunchOptions(format: .flat)).entryPoint == 0x1000)
        #expect(Wrong.of([0xF4], as: .bootSector) == Wrong(.otherFormat, "signature", 0))
        #expect(Wrong.of(Array(sector.dropLast()), as: .bootSector) == Wrong(.otherFormat, "signature", 0))
    }

    @Test func `a ROM ends at 4 GiB, and its last 128 KiB at 1 MiB`() throws {
        let end: [UInt8] = [0xEA, 0x5B, 0xE0, 0, 0xF0] + [UInt8](repeating: 0, count: 11)
        for (count, shadow) in [(0x1_0000, 0xF_0000), (0x2_0000, 0xE_0000), (4 << 20, 0xE_0000)] as [(Int, UInt64)] {
            let image = [UInt8](repeating: 0x11, count: count - 16) + end
            let plan = try LaunchPlan(image)
            let rom = try #require(plan.rom)
            #expect(
                plan.format == .rom && plan.mode == .real16 && plan.entryPoint == 0xFFF0 && plan.map.regions.isEmpty)
            #expect(rom.address + UInt64(count) == 1 << 32 && rom.bytes.count == count)
            #expect(rom.shadowAddress == shadow && rom.shadowBytes == image.suffix(Int(0x10_0000 - shadow)))
            #expect(plan.segments[.cs]?.selector == 0xF000 && plan.segments[.cs]?.base == 0xFFFF_0000)
            #expect(plan.needs == [.readOnlyMemory, .board])
        }
        let wrong = { (count: Int) in Wrong.of([UInt8](repeating: 0, count: count), as: .rom) }
        #expect(wrong(0xF000) == Wrong(.invalidField, "size", 0xF000))
        #expect(wrong(0x1_0001) == Wrong(.invalidField, "size", 0x1_0001))
        #expect(wrong((4 << 20) + 4096) == Wrong(.invalidField, "size", (4 << 20) + 4096))
        #expect(wrong(0x1_0000) == nil, "told to be one, it need not begin with a jump")
    }

    @Test func `a ROM is a job on the board of a PC, and the worker knows where it goes`() throws {
        let image = (0..<0x1_0000).map { UInt8(truncatingIfNeeded: $0) }
        let plan = try LaunchPlan(image, LaunchOptions(format: .rom, memoryBytes: 2 << 20))
        let job = plan.job(JobSpec(budget: Budget(steps: 7)))
        var expected = JobSpec(memoryBytes: 2 << 20, budget: Budget(steps: 7))
        (expected.isROM, expected.board) = (true, .pc)
        #expect(job.spec == expected && job.image == image)
        #expect(try GuestLayout(rom: job.image, spec: job.spec).system.cs == plan.segments[.cs])
    }
}
