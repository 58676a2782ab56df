// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import JobProtocol
import JobScheduling
import LinuxPersonality
import Testing

@testable import Worker

/// An archive of one empty file of this name.
func archive(_ name: String) -> Image {
    var header = [UInt8](repeating: 0, count: 512)
    let put = { (text: String, at: Int) in header.replaceSubrange(at..<at + text.utf8.count, with: text.utf8) }
    put(name, 0)
    put("0000755", 100)
    put("00000000000", 124)
    put("00000000000", 136)
    put("        ", 148)
    put("0", 156)
    put("ustar\u{0}00", 257)
    let sum = String(header.reduce(0) { $0 + Int($1) }, radix: 8)
    put(String(repeating: "0", count: 6 - sum.count) + sum + "\u{0} ", 148)
    return Image(header + [UInt8](repeating: 0, count: 1024)).hashed
}

@Suite struct KnownProgramsTests {
    private let one = archive("one")
    private let two = archive("two")

    @Test func `the files of a layer are read once for each user`() throws {
        var known = KnownImages(limits: WorkerLimits())
        let first = try known.layer(one, at: 0, of: 1)
        #expect(first.tree.count == 2, "the root, and the file")
        #expect(try known.layer(Image(one.bytes, digest: one.digest), at: 3, of: 1).tree === first.tree)
        #expect(try known.layer(one, at: 0, of: 2).tree !== first.tree, "another user finds nothing read")
        #expect(try known.layer(one, at: 0, of: nil).tree !== first.tree)
        #expect(try known.layer(two, at: 0, of: 1).tree !== first.tree)
        #expect(first.byteCount > one.bytes.count, "its nodes count as well")
    }

    @Test func `what files take is bounded`() throws {
        let each = try {
            var known = KnownImages(limits: WorkerLimits()); return try known.layer(one, at: 0, of: 1).byteCount
        }()
        for limits in [WorkerLimits(knownImages: 1), WorkerLimits(fileTreeBytes: 2 * each - 1)] {
            var known = KnownImages(limits: limits)
            let first = try known.layer(one, at: 0, of: 1)
            _ = try known.layer(two, at: 0, of: 1)
            #expect(try known.layer(one, at: 0, of: 1).tree !== first.tree)
        }
    }

    @Test func `what is no archive is refused, and the layer and the place in it are named`() throws {
        var known = KnownImages(limits: WorkerLimits())
        var bytes = one.bytes
        bytes[0] ^= 1
        for image in [Image(bytes).hashed, Image(Array("no archive".utf8)).hashed] {
            let refusal = #expect(throws: Refusal.self) { try known.layer(image, at: 5, of: 1) }
            #expect(refusal?.rule == .invalidField && refusal?.message.hasPrefix("layer 5 is no archive") == true)
            #expect(refusal?.message.contains("at byte 0") == true)
        }
    }

    @Test func `what decides where a program starts makes another key`() {
        var spec = JobSpec(mode: .linux)
        let program = ProgramSpec(
            path: [0x2F], arguments: [[1]],
            layers: [one, two].compactMap { image in
                image.digest.map { ProgramSpec.Layer(digest: $0, bytes: UInt64(image.bytes.count)) }
            })
        let key = StartKey(program, spec)
        let changes: [(inout ProgramSpec) -> Void] = [
            { $0.path = [0x2F, 1] }, { $0.arguments = [[2]] }, { $0.arguments = [[1], []] }, { $0.environment = [[1]] },
            { $0.layers.reverse() }, { $0.layers.removeLast() }, { $0.clock = .fixed }, { $0.seed = 0 },
            { $0.scratchBytes = 1 },
        ]
        for change in changes {
            var other = program
            change(&other)
            #expect(StartKey(other, spec) != key)
        }
        #expect(StartKey(program, spec) == key)
        (spec.label, spec.hasInput, spec.budget) = ("other", true, Budget(wallTime: .seconds(1)))
        #expect(StartKey(program, spec) == key, "nothing of this decides the start")
        spec.memoryBytes += 4096
        #expect(StartKey(program, spec) != key)
        #expect(key.byteCount > StartKey.namedBytes + program.stringBytes)
    }

    @Test func `jobs that wait are charged once for the layers that they share`() {
        var spec = JobSpec(mode: .linux)
        spec.program = ProgramSpec(path: [0x2F], arguments: [[UInt8](repeating: 1, count: 1000)])
        #expect(spec.listBytes > 1000 && JobSpec().listBytes == 0)
        var scheduler = Scheduler(limits: SchedulerLimits(slots: 1, waitingBytes: 1000))
        func holding(_ own: UInt64) -> Holding {
            Holding(bytes: 1, shared: .init(number: own, bytes: 10), layers: [.init(number: 1, bytes: 800)])
        }
        func request(_ holding: Holding) -> JobRequest { JobRequest(tenant: .user(1), holding: holding) }
        var accepted = 0
        for number in 10..<40 as Range<UInt64> {
            if (try? scheduler.submit(JobKey(number), request(holding(number)), at: 0)) != nil { accepted += 1 }
            _ = scheduler.began(JobKey(10), at: 0)
        }
        #expect(accepted == 1 + 200 / 11, "the first one runs")
        for number in 10..<40 as Range<UInt64> { _ = scheduler.cancel(JobKey(number), by: .client) }
        let alone = Holding(bytes: 1000)
        #expect((try? scheduler.submit(JobKey(50), request(alone), at: 0)) != nil, "all of it has been given back")
    }
}
