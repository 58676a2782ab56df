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
            let first = try known.point(of: image, JobSpec(label: "a"), of: 1)
            var other = JobSpec(label: "b", budget: Budget(steps: 5), reportsPortWrites: true, hasInput: true)
            (other.report, other.isDeterministic) = (.all, true)
            #expect(try known.point(of: image, other, of: 1) === first, "nothing of this decides the start")
            #expect(try known.point(of: Image(image.bytes.map { $0 }, digest: image.digest), other, of: 1) === first)
            #expect(try known.point(of: image, other, of: 2) !== first, "another user finds nothing prepared")
            #expect(try known.point(of: image, other, of: nil) !== first)
        }
        let unnamed = try known.point(of: large, JobSpec(), of: 1)
        #expect(try known.point(of: large, JobSpec(), of: 1) !== unnamed, "it has no digest, and is not compared")
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
        let first = try known.point(of: small, JobSpec(), of: 1)
        var spec = JobSpec()
        Self.changes[index](&spec)
        let second = try known.point(of: small, spec, of: 1)
        #expect(second !== first)
        #expect(try known.point(of: small, spec, of: 1) === second)
        #expect(try known.point(of: small, JobSpec(), of: 1) === first)
        #expect(try known.point(of: Image([0xF4]), JobSpec(), of: 1) !== first)
    }

    @Test func `a refusal is no starting point, and hides none`() throws {
        var known = KnownImages(limits: WorkerLimits())
        let wrong = JobSpec(entryPoint: 1 << 40)
        for _ in 0..<2 { #expect(throws: Refusal.self) { try known.point(of: small, wrong, of: 1) } }
        let start = try known.point(of: small, JobSpec(), of: 1)
        #expect(throws: Refusal.self) { try known.point(of: small, wrong, of: 1) }
        #expect(try known.point(of: small, JobSpec(), of: 1) === start)
    }

    @Test func `starting points are bounded by their number and by their bytes`() throws {
        let each = 4096 + 4 + StartKey.namedBytes
        for limits in [WorkerLimits(startingPoints: 2), WorkerLimits(startingPointBytes: 3 * each - 1)] {
            var known = KnownImages(limits: limits)
            let starts = try (0..<3).map { try known.point(of: small, JobSpec(entryPoint: 0x1000 + $0), of: 1) }
            #expect(starts.allSatisfy { $0.byteCount == 4096 })
            #expect(try known.point(of: small, JobSpec(entryPoint: 0x1002), of: 1) === starts[2])
            #expect(try known.point(of: small, JobSpec(entryPoint: 0x1001), of: 1) === starts[1])
            #expect(try known.point(of: small, JobSpec(entryPoint: 0x1000), of: 1) !== starts[0])
        }
    }

    @Test func `what is charged is pages, however few bytes a client has put into each`() throws {
        let count = MemoryRange.pieceLimit
        let image = Image([UInt8](repeating: 0xF4, count: 2 * count)).hashed
        // Each has the last byte of a page and the first of the next.
        var spec = JobSpec(mode: .protected32, entryPoint: (2 << 20) - 1)
        spec.pieces = (0..<count).map { MemoryRange(address: (2 << 20) + (UInt64($0 * 2) << 12) - 1, count: 2) }
        let bytes = try StartingPoint(image: image.bytes, spec: spec).byteCount
        #expect(bytes >= 2 * count << 12 && bytes <= (2 * count + 16) << 12)
        let charge = bytes + StartKey.namedBytes + count * 16
        var known = KnownImages(limits: WorkerLimits(startingPointBytes: 3 * charge - 1))
        let starts = try (0..<3).map { number in
            spec.registers = [.rax: UInt64(number)]
            return try known.point(of: image, spec, of: 1)
        }
        #expect(try known.point(of: image, spec, of: 1) === starts[2])
        spec.registers = [.rax: 0]
        #expect(try known.point(of: image, spec, of: 1) !== starts[0], "there is room for two")
        #expect(spec.listBytes == count * 16)
    }
}

extension KnownImages {
    fileprivate mutating func point(of image: Image, _ spec: JobSpec, of user: UInt32?) throws -> StartingPoint {
        try start(of: image, spec, of: user).point
    }
}
