// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVMJobClient
import Testing

@testable import Worker

@Suite(
    "Memory windows and traces, over a socket", .enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(2))
)
struct RecordTests {
    /// hlt, and 100,000 bytes that are not zero.
    private let image: [UInt8] = [0xF4] + (0..<100_000).map { UInt8(truncatingIfNeeded: $0 * 7 | 1) }

    private func dumping(_ windows: [MemoryRange]) -> JobSpec {
        var spec = JobSpec()
        spec.dumps = windows
        return spec
    }

    @Test("A dump arrives whole through any window", arguments: [1000, 65_536, 1 << 20] as [UInt32])
    func dump(window: UInt32) async throws {
        let client = try await TestWorker().connect(outputWindow: window)
        let job = try await client.submit(dumping([MemoryRange(address: 0, count: 16 << 20)]), image: image)
        var decoder = RecordDecoder<MemoryRecord>()
        var hasEnded = false
        var memory = [UInt8](repeating: 0, count: 256 << 10)
        for try await chunk in job.output where chunk.channel == .memory {
            for record in decoder.feed(chunk.bytes) {
                if record.bytes.isEmpty {
                    #expect(record.address == 16 << 20)
                    hasEnded = true
                    continue
                }
                let start = Int(record.address)
                memory.replaceSubrange(start..<(start + record.bytes.count), with: record.bytes)
            }
        }
        #expect(!decoder.isBroken && decoder.pendingBytes == 0)
        #expect(hasEnded)
        #expect(Array(memory[0x1000..<(0x1000 + image.count)]) == image)
        #expect(memory[..<0x1000].allSatisfy { $0 == 0 })
        #expect(memory[(0x1000 + image.count)...].allSatisfy { $0 == 0 }, "nothing else holds anything")
        #expect(try await job.result().outcome == .halted)
    }

    @Test("A trace arrives whole through any window", arguments: [1, 7, 1 << 20] as [UInt32])
    func trace(window: UInt32) async throws {
        // mov cx, 10; again: out 0xe9, al; inc ax; loop again; hlt
        let client = try await TestWorker().connect(outputWindow: window)
        var spec = JobSpec()
        spec.isTraced = true
        let job = try await client.submit(spec, image: [0xB9, 10, 0, 0xE6, 0xE9, 0x40, 0xE2, 0xFB, 0xF4])
        var decoder = RecordDecoder<TraceRecord>()
        var steps: [TraceStep] = []
        var exits = 0
        var console: [UInt8] = []
        for try await chunk in job.output {
            if chunk.channel == .console { console += chunk.bytes }
            guard chunk.channel == .trace else { continue }
            for record in decoder.feed(chunk.bytes) {
                switch record {
                case .step(let step): steps.append(step)
                case .exit: exits += 1
                }
            }
        }
        #expect(!decoder.isBroken && decoder.pendingBytes == 0)
        #expect(steps.count == 32)
        #expect(exits == 11)
        #expect(console == (0..<10).map { UInt8($0) })
        #expect(try await job.result().steps == 32)
    }

    @Test("A client that does not read its dump can cancel; its result is what it was, and the slot is free")
    func cancelUnread() async throws {
        let client = try await TestWorker(slots: 1).connect(outputWindow: 16)
        let unread = try await client.submit(dumping([MemoryRange(address: 0, count: 16 << 20)]), image: image)
        var chunks = unread.output.makeAsyncIterator()
        #expect(try await chunks.next()?.channel == .memory)
        unread.cancel()
        #expect(try await unread.result().outcome == .halted)
        let next = try await client.submit(JobSpec(), image: image)
        #expect(try await next.result().outcome == .halted)
    }

    @Test("A client that leaves in the middle of its dump frees the slot")
    func disconnect() async throws {
        let worker = try await TestWorker(slots: 1)
        let leaving = try await worker.connect(outputWindow: 16)
        let unread = try await leaving.submit(dumping([MemoryRange(address: 0, count: 16 << 20)]), image: image)
        var chunks = unread.output.makeAsyncIterator()
        #expect(try await chunks.next()?.channel == .memory)
        await leaving.shutdown()
        let client = try await worker.connect()
        let next = try await client.submit(JobSpec(), image: image)
        #expect(try await next.result().outcome == .halted)
    }

    @Test("A window outside guest memory is refused, and the connection goes on")
    func refusal() async throws {
        let client = try await TestWorker().connect()
        let error = await #expect(throws: JobClientError.self) {
            try await client.submit(dumping([MemoryRange(address: 16 << 20, count: 1)]), image: image)
        }
        #expect(error?.refusal?.name == "invalid-field")
        #expect(try await client.submit(JobSpec(), image: image).result().outcome == .halted)
    }
}
