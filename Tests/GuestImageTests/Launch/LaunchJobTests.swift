// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom
import Testing

@testable import GuestImage

@Suite struct LaunchJobTests {
    private func layout(_ image: [UInt8], _ options: LaunchOptions = LaunchOptions()) throws -> GuestLayout {
        let job = try LaunchPlan(image, options).job(JobSpec())
        return try GuestLayout(flat: job.image, spec: job.spec)
    }

    @Test func `a worker finds nothing wrong with a plan, and adds nothing of its own`() throws {
        let note = HandMadeKernel.note(HandMadeKernel.number(0x10_0000, 4))
        for image in [
            HandMadeKernel().bytes, HandMadeKernel(is32: true).bytes, HandMadeKernel.multibootKernel().bytes,
            HandMadeKernel.noteKernel(note).bytes, HandMadeLinux().bytes,
        ] {
            let plan = try LaunchPlan(image)
            let layout = try layout(image)
            #expect(layout.pieces.map(\.address) == plan.pieces.map(\.address))
            #expect(layout.pieces.map(\.bytes) == plan.pieces.map(\.bytes))
            #expect(layout.registers.rip == plan.entryPoint && layout.mode == plan.mode)
            #expect(layout.system.gdt == plan.tables[.gdt] && layout.memoryBytes == plan.memoryBytes)
        }
    }

    /// Found by fuzzing: the lowest room for the GDT was where a worker keeps its own tables.
    @Test func `a table is never where a worker would take it for its own`() throws {
        let low = HandMadeKernel.Header(physical: 0, fileBytes: 0, memoryBytes: 0x9_F004)
        for is32 in [false, true] {
            let kernel = HandMadeKernel(is32: is32, headers: [low], entry: 0)
            let plan = try LaunchPlan(kernel.bytes)
            #expect(try layout(kernel.bytes).pieces.count == plan.pieces.count)
        }
    }

    @Test func `a kernel may be where workers keep their tables`() throws {
        for is32 in [false, true] {
            let kernel = HandMadeKernel(is32: is32, headers: [.init(physical: 0x9_1000)], entry: 0x9_1000)
            let layout = try layout(kernel.bytes)
            #expect(layout.pieces.contains { $0.address == 0x9_1000 && $0.bytes == Array(kernel.body.prefix(16)) })
        }
    }

    @Test func `registers that the user sets stay`() throws {
        var spec = JobSpec()
        spec.registers = [.rax: 1, .rcx: 2]
        spec.controls = [.cr4: 0x200]
        let job = try LaunchPlan(HandMadeKernel.multibootKernel().bytes).job(spec)
        #expect(job.spec.registers[.rax] == 1 && job.spec.registers[.rcx] == 2 && job.spec.registers[.rbx] != nil)
        #expect(job.spec.controls == [.cr0: 0x11, .cr4: 0x200])
    }

    @Test func `whatever is changed in an image, a plan keeps its rules`() throws {
        var random = SplitMix64(state: 1)
        let note = HandMadeKernel.note(HandMadeKernel.number(0x10_0000, 4))
        let images = [
            HandMadeKernel().bytes, HandMadeKernel.multibootKernel().bytes, HandMadeKernel.noteKernel(note).bytes,
            HandMadeLinux().bytes,
        ]
        var plans = 0
        for round in 0..<2000 {
            var image = images[round % images.count]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                image[Int.random(in: 0..<min(image.count, 0x280), using: &random)] = .random(
                    in: 0...255, using: &random)
            }
            guard let plan = try? LaunchPlan(image, LaunchOptions(memoryBytes: 16 << 20)) else { continue }
            plans += 1
            var end: UInt64 = 0
            for region in plan.map.regions {
                #expect(region.address >= end && region.count > 0 && region.end <= plan.memoryBytes)
                end = region.end
            }
        }
        #expect(plans > 200, "most of what is changed does not matter")
    }
}
