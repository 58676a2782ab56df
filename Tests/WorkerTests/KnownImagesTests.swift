// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import Testing
import VMRuntime

@testable import Worker

@Suite struct KnownImagesTests {
    private let small = Image([0xB8, 0x34, 0x00, 0xF4])
    private let large = Image([UInt8](repeating: 0x90, count: 5000) + [0xF4])

    private func digest(_ image: Image) -> ContentDigest { ContentDigest(hashing: image.bytes) }

    @Test func `an image is known to the user who submitted it and to no other`() {
        var known = KnownImages(limits: WorkerLimits())
        let digest = digest(large)
        known.keep(large.hashed, of: 1000)
        #expect(known.image(digest, bytes: 5001, of: 1000) == large.bytes)
        #expect(known.image(digest, bytes: 5001, of: 1001) == nil)
        #expect(known.image(digest, bytes: 5001, of: nil) == nil)
        known.keep(Image(large.bytes.map { $0 }, digest: digest), of: 1001)
        #expect(known.image(digest, bytes: 5001, of: 1001) == large.bytes)
    }

    @Test func `a digest with another size does not find the image`() {
        var known = KnownImages(limits: WorkerLimits())
        known.keep(large.hashed, of: 1)
        #expect(known.image(digest(large), bytes: 5000, of: 1) == nil)
        #expect(known.image(digest(large), bytes: .max, of: 1) == nil)
    }

    @Test func `what has no digest, or nobody to belong to, is not kept`() {
        var known = KnownImages(limits: WorkerLimits())
        known.keep(large, of: 1)
        known.keep(large.hashed, of: nil)
        #expect(known.image(digest(large), bytes: 5001, of: 1) == nil)
        #expect(known.image(digest(large), bytes: 5001, of: nil) == nil)
    }

    @Test func `jobs that start the same way share their starting point`() throws {
        var known = KnownImages(limits: WorkerLimits())
        for image in [small, large.hashed] {
            let first = try known.start(of: image, JobSpec(label: "a"), of: 1)
            var other = JobSpec(label: "b", budget: Budget(steps: 5), reportsPortWrites: true, hasInput: true)
            (other.report, other.isDeterministic) = (.all, true)
            #expect(try known.start(of: image, other, of: 1) === first, "nothing of this decides the start")
            #expect(try known.start(of: Image(image.bytes.map { $0 }, digest: image.digest), other, of: 1) === first)
            #expect(try known.start(of: image, other, of: 2) !== first, "another user finds nothing prepared")
            #expect(try known.start(of: image, other, of: nil) !== first)
        }
        let unnamed = try known.start(of: large, JobSpec(), of: 1)
        #expect(try known.start(of: large, JobSpec(), of: 1) !== unnamed, "it has no digest, and is not compared")
    }

    /// One change of each thing that decides the start.
    private static let changes: [@Sendable (inout JobSpec) -> Void] = [
        { $0.mode = .protected32 }, { $0.loadAddress = 0x2000 }, { $0.entryPoint = 0x1001 },
        { $0.registers = [.rax: 1] }, { $0.memoryBytes = 2 << 20 }, { $0.controls = [.cr2: 5] },
        { $0.tables = [.idt: DescriptorTable(base: 0, limit: 7)] },
        {
            $0.segments = [
                .ds: Segment(
                    base: 16, limit: 0xFFFF, selector: 1, attributes: SegmentAttributes(type: 3, s: true))
            ]
        },
        { ($0.pieces, $0.entryPoint) = ([MemoryRange(address: 0x1000, count: 4)], 0x1000) },
    ]

    @Test(arguments: changes.indices) func `what decides the start makes another one`(index: Int) throws {
        var known = KnownImages(limits: WorkerLimits())
        let first = try known.start(of: small, JobSpec(), of: 1)
        var spec = JobSpec()
        Self.changes[index](&spec)
        let second = try known.start(of: small, spec, of: 1)
        #expect(second !== first)
        #expect(try known.start(of: small, spec, of: 1) === second)
        #expect(try known.start(of: small, JobSpec(), of: 1) === first)
        #expect(try known.start(of: Image([0xF4]), JobSpec(), of: 1) !== first)
    }

    @Test func `a refusal is no starting point, and hides none`() throws {
        var known = KnownImages(limits: WorkerLimits())
        let wrong = JobSpec(entryPoint: 1 << 40)
        for _ in 0..<2 { #expect(throws: Refusal.self) { try known.start(of: small, wrong, of: 1) } }
        let start = try known.start(of: small, JobSpec(), of: 1)
        #expect(throws: Refusal.self) { try known.start(of: small, wrong, of: 1) }
        #expect(try known.start(of: small, JobSpec(), of: 1) === start)
    }

    @Test func `starting points are bounded by their number and by their bytes`() throws {
        for limits in [WorkerLimits(startingPoints: 2), WorkerLimits(startingPointBytes: 11)] {
            var known = KnownImages(limits: limits)
            let starts = try (0..<3).map { try known.start(of: small, JobSpec(entryPoint: 0x1000 + $0), of: 1) }
            #expect(starts.allSatisfy { $0.byteCount == 4 })
            #expect(try known.start(of: small, JobSpec(entryPoint: 0x1002), of: 1) === starts[2])
            #expect(try known.start(of: small, JobSpec(entryPoint: 0x1001), of: 1) === starts[1])
            #expect(try known.start(of: small, JobSpec(entryPoint: 0x1000), of: 1) !== starts[0])
        }
    }
}
