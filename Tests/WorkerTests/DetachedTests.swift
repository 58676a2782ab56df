// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import JobProtocol
import JobStore
import KVMJobClient
import Testing

@testable import Worker

/// A worker that keeps jobs in a directory of its own, and those that follow it there.
private final class Kept: Sendable {
    let directory: String

    init() throws {
        directory = NSTemporaryDirectory() + "kvmjob-kept-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func worker(slots: Int = 1, limits: DetachedLimits = DetachedLimits()) async throws -> Masquerade {
        var all = WorkerLimits()
        all.detached = limits
        return try await Masquerade(
            slots: slots, limits: all, operators: [77], keeper: JobKeeper(directory: directory, limits: limits))
    }
}

extension AttachedJob {
    /// All that is told from here on.
    fileprivate func all() async throws -> (output: [UInt8], result: JobResult?) {
        var bytes: [UInt8] = []
        for try await chunk in output { bytes += chunk.bytes }
        return (bytes, try await result())
    }
}

@Suite("Detached jobs", .enabled(if: kvmIsUsable, "no usable /dev/kvm"), .timeLimit(.minutes(2)))
struct DetachedTests {
    /// jmp $
    private let endless: [UInt8] = [0xEB, 0xFE]
    /// hlt
    private let halt: [UInt8] = [0xF4]

    /// mov al, CHARACTER; out 0xe9, al for each; hlt
    private func printer(_ text: String) -> [UInt8] { text.utf8.flatMap { [0xB0, $0, 0xE6, 0xE9] } + [0xF4] }

    private func spec(_ key: String? = nil, label: String = "", wall: Duration = .seconds(10)) -> JobSpec {
        var spec = JobSpec(label: label, budget: Budget(wallTime: wall))
        spec.detachment = Detachment(key: key)
        return spec
    }

    private func list(_ worker: Masquerade, of user: UInt32?) async throws -> [DetachedJob] {
        guard case .detached(let jobs, _) = try await worker.answer(.detached(after: nil), to: user) else { return [] }
        return jobs
    }

    @Test func `a job that is handed over runs without its connection, and its output and result are kept`()
        async throws
    {
        let kept = try Kept()
        let worker = try await kept.worker()
        let first = try await worker.client(of: 1000)
        let id = try #require(try await first.detach(spec(label: "greeting"), image: Image(printer("hello"))).id)
        await first.shutdown()
        let second = try await worker.client(of: 1000)
        for _ in 0..<2 {
            let (output, result) = try await second.attach(AttachRequest(id: id)).all()
            #expect(output == Array("hello".utf8))
            #expect(result?.outcome == .halted)
        }
        let listed = try await list(worker, of: 1000)
        #expect(listed.map(\.id) == [id] && listed.first?.state == .ended && listed.first?.title == "greeting")
        #expect(listed.first?.run == 1 && listed.first?.outputBytes == 5)
        try await worker.drain()
    }

    @Test func `from every offset the rest of the output comes, once`() async throws {
        let kept = try Kept()
        let worker = try await kept.worker()
        let client = try await worker.client(of: 1000)
        let id = try #require(try await client.detach(spec(), image: Image(printer("abcdef"))).id)
        _ = try await client.attach(AttachRequest(id: id)).result()
        for offset in 0...7 {
            var request = AttachRequest(id: id)
            (request.run, request.offsets) = (1, [.console: UInt64(offset)])
            #expect(try await client.attach(request).all().output == Array("abcdef".utf8.dropFirst(offset)))
        }
        try await worker.drain()
    }

    @Test func `one who follows sees what is written as it is, and the end`() async throws {
        let kept = try Kept()
        let worker = try await kept.worker()
        let client = try await worker.client(of: 1000)
        // Writes, and goes on for ever.
        let id = try #require(
            try await client.detach(spec(), image: Image(Array(printer("x").dropLast()) + endless)).id)
        let job = try await client.attach(AttachRequest(id: id))
        var output = job.output.makeAsyncIterator()
        #expect(try await output.next()?.bytes == [UInt8(ascii: "x")])
        var now = AttachRequest(id: id)
        now.follows = false
        let (told, none) = try await client.attach(now).all()
        #expect(told == [UInt8(ascii: "x")] && none == nil)
        job.cancel()
        #expect(try await job.result()?.outcome == .cancelled(by: .user))
        try await worker.drain()
    }

    @Test func `a key means one job, of one user`() async throws {
        let kept = try Kept()
        let worker = try await kept.worker()
        let one = try await worker.client(of: 1000), other = try await worker.client(of: 1001)
        let first = try await one.detach(spec("k", label: "a"), image: Image(halt))
        let again = try await one.detach(spec("k", label: "b"), image: Image(halt))
        #expect(first.id == again.id && again.isRepeated && !first.isRepeated)
        #expect(try await other.detach(spec("k"), image: Image(halt)).id != first.id)
        let error = await #expect(throws: JobClientError.self) {
            try await one.detach(spec("k"), image: Image(endless))
        }
        #expect(error?.refusal?.name == "key-taken")
        try await worker.drain()
    }

    @Test func `nobody sees the jobs of others, but operators see that they are there`() async throws {
        let kept = try Kept()
        let worker = try await kept.worker()
        let one = try await worker.client(of: 1000), other = try await worker.client(of: 1001)
        let id = try #require(try await one.detach(spec(), image: Image(printer("secret"))).id)
        _ = try await one.attach(AttachRequest(id: id)).result()
        for client in [other, try await worker.client(of: 77), try await worker.client(of: nil)] {
            let error = await #expect(throws: JobClientError.self) { try await client.attach(AttachRequest(id: id)) }
            #expect(error?.refusal?.name == "job-unknown")
        }
        #expect(try await list(worker, of: 1001).isEmpty)
        #expect(try await list(worker, of: 77).map(\.id) == [id])
        #expect(try await other.forget([id]) == [.unknown])
        #expect(try await one.forget([id]) == [.stopped])
        #expect(try await list(worker, of: 77).isEmpty)
        try await worker.drain()
    }

    @Test func `who cannot be told from others hands nothing over`() async throws {
        let kept = try Kept()
        let worker = try await kept.worker()
        let client = try await worker.client(of: nil)
        let error = await #expect(throws: JobClientError.self) { try await client.detach(spec(), image: Image(halt)) }
        #expect(error?.refusal?.name == "detach-unavailable")
        try await worker.drain()
    }

    @Test func `a worker without a store takes nothing over`() async throws {
        let worker = try await Masquerade()
        let client = try await worker.client(of: 1000)
        let error = await #expect(throws: JobClientError.self) { try await client.detach(spec(), image: Image(halt)) }
        #expect(error?.refusal?.name == "detach-unavailable")
        try await worker.drain()
    }

    @Test func `what has not ended when a worker leaves runs in the next one`() async throws {
        let kept = try Kept()
        let first = try await kept.worker()
        let client = try await first.client(of: 1000)
        let long = try #require(try await client.detach(spec(wall: .seconds(60)), image: Image(endless)).id)
        var others: [UInt64] = []
        for number in 0..<20 {
            others.append(try #require(try await client.detach(spec(), image: Image(printer("\(number)"))).id))
        }
        try await first.drain(grace: .milliseconds(50))
        let second = try await kept.worker()
        let later = try await second.client(of: 1000)
        #expect(try await later.cancel(jobs: [long]) == [.stopped])
        for (number, id) in others.enumerated() {
            let (output, result) = try await later.attach(AttachRequest(id: id)).all()
            #expect(String(decoding: output, as: UTF8.self) == "\(number)")
            #expect(result?.outcome == .halted)
        }
        let fresh = try #require(try await later.detach(spec(), image: Image(halt)).id)
        #expect(fresh > others.max() ?? 0)
        try await second.drain()
    }

    @Test func `a job has all of its input`() async throws {
        let kept = try Kept()
        let worker = try await kept.worker()
        let client = try await worker.client(of: 1000)
        // in al, 0x3f8 by dx; out 0xe9; three times; hlt
        let echo: [UInt8] =
            [0xBA, 0xF8, 0x03] + Array(repeating: [0xEC, 0xE6, 0xE9], count: 3).flatMap(\.self) + [0xF4]
        let id = try #require(try await client.detach(spec(), image: Image(echo), input: Array("abc".utf8)).id)
        #expect(try await client.attach(AttachRequest(id: id)).all().output == Array("abc".utf8))
        try await worker.drain()
    }

    @Test func `more output than is kept is an end of its own`() async throws {
        let kept = try Kept()
        var limits = DetachedLimits()
        limits.output = 100_000
        let worker = try await kept.worker(limits: limits)
        let client = try await worker.client(of: 1000)
        // out 0xe9, al; jmp back
        let id = try #require(try await client.detach(spec(), image: Image([0xE6, 0xE9, 0xEB, 0xFC])).id)
        let (output, result) = try await client.attach(AttachRequest(id: id)).all()
        #expect(output.count == 100_000)
        #expect(result?.outcome.name == "output-exhausted")
        var greedy = spec()
        greedy.budget.outputBytes = 100_001
        let error = await #expect(throws: JobClientError.self) { try await client.detach(greedy, image: Image(halt)) }
        #expect(error?.refusal?.name == "budget-range")
        try await worker.drain()
    }

    @Test func `more jobs than the scheduler is given at once all end`() async throws {
        let kept = try Kept()
        let worker = try await kept.worker(slots: 2)
        let client = try await worker.client(of: 1000)
        let count = 3 * DetachedJobs.fedJobs
        var ids: [UInt64] = []
        for number in 0..<count {
            ids.append(try #require(try await client.detach(spec("\(number)"), image: Image(halt)).id))
        }
        for id in ids {
            var request = AttachRequest(id: id)
            request.wantsOutput = false
            #expect(try await client.attach(request).result()?.outcome == .halted)
        }
        try await worker.drain()
    }

    @Test func `a user's kept jobs are as many as may be: those that have ended make room, oldest first`() async throws
    {
        let kept = try Kept()
        var limits = DetachedLimits()
        limits.tenantJobs = 3
        let worker = try await kept.worker(limits: limits)
        let client = try await worker.client(of: 1000)
        var ids: [UInt64] = []
        for _ in 0..<5 {
            ids.append(try #require(try await client.detach(spec(), image: Image(halt)).id))
            _ = try await client.attach(AttachRequest(id: ids.last ?? 0)).result()
        }
        #expect(try await list(worker, of: 1000).map(\.id) == Array(ids.suffix(3)))
        var endlessOnes: [UInt64] = []
        for _ in 0..<3 {
            endlessOnes.append(
                try #require(try await client.detach(spec(wall: .seconds(60)), image: Image(endless)).id))
        }
        let error = await #expect(throws: JobClientError.self) { try await client.detach(spec(), image: Image(halt)) }
        #expect(error?.refusal?.limitName == "tenant-detached-jobs" && error?.isRetryable == true)
        #expect(try await client.forget(endlessOnes) == [.unfinished, .unfinished, .unfinished])
        try await worker.drain(grace: .zero)
    }
}
