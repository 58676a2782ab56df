// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import JobProtocol
import NIOConcurrencyHelpers
import Testing

@testable import kvmjob

/// Machines that are threads of this process: each chunk is run as `kvmjob worker` does it, in real virtual machines, or lost on the way.
private actor ThreadEngine: FarmEngine {
    let spool: Spool
    /// What is lost of the first submissions: the number of jobs of a chunk that get done, for each submission.
    var losses: [Int: [Int]]
    private(set) var submitted: [[Int]] = []
    private(set) var isCancelled = false
    private var active: Set<Int> = []

    init(spool: Spool, losses: [Int: [Int]] = [:]) { (self.spool, self.losses) = (spool, losses) }

    func submit(_ chunks: [Int]) async throws {
        submitted.append(chunks)
        active.formUnion(chunks)
        for chunk in chunks {
            let done: Int? = losses[chunk]?.first
            losses[chunk] = losses[chunk].map { Array($0.dropFirst()) }
            Task { try await work(chunk, done) }
        }
    }

    private func work(_ chunk: Int, _ count: Int?) async throws {
        let there = Set(try spool.results())
        let jobs = try spool.chunk(chunk).filter { !there.contains($0.jobID) }.prefix(count ?? .max)
        let connection = try await WorkerConnection.openEmbedded(slots: 2)
        let run = ChunkRun(spool: spool, jobs: Array(jobs), retries: 0, inFlight: 4, printed: nil)
        try await run.run(on: connection.client)
        await connection.close()
        active.remove(chunk)
    }

    func activeChunks() async throws -> Set<Int>? { active }
    func cancel() async { isCancelled = true }
    func tidy() async {}
    func lastWords(of chunk: Int) async -> String? { "the power failed" }
}

@Suite(
    "A batch on many machines", .enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm"),
    .timeLimit(.minutes(2)))
struct FarmRunTests {
    /// Jobs that print a letter each and halt.
    private func spool(_ sizes: [Int]) throws -> (folder: SpoolFolder, wanted: [Int: Set<String>]) {
        let folder = try SpoolFolder()
        var line = 0
        let chunks = try sizes.map { size in
            try (0..<size).map { _ in
                line += 1
                return try folder.job(line, code: [0xB0, UInt8(0x40 + line % 26), 0xE6, 0xE9, 0xF4])
            }
        }
        _ = try folder.spool.make(chunks, retries: 0)
        let wanted = chunks.enumerated().map { ($0.offset, Set($0.element.map(\.jobID))) }
        return (folder, Dictionary(uniqueKeysWithValues: wanted))
    }

    private final class Delivered: Sendable {
        let lines = NIOLockedValueBox<[String: [String]]>([:])

        func add(_ id: String, _ line: [UInt8]) {
            lines.withLockedValue { $0[id, default: []].append(String(decoding: line, as: UTF8.self)) }
        }

        var counts: [Int] { lines.withLockedValue { $0.values.map(\.count) } }
    }

    @Test func `every job has one result, and it is the job's`() async throws {
        let (folder, wanted) = try spool([3, 4, 2])
        let delivered = Delivered()
        let engine = ThreadEngine(spool: folder.spool)
        try await FarmRun(spool: folder.spool, wanted: wanted, engine: engine) { delivered.add($0, $1) }.run(
            isNew: true)
        #expect(delivered.counts == Array(repeating: 1, count: 9))
        #expect(await engine.submitted == [[0, 1, 2]])
        let line = try #require(delivered.lines.withLockedValue { $0["id-4"]?.first })
        let json = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(json["outcome"] as? String == "halted" && json["line"] as? Int == 4)
        #expect(json["output_base64"] as? String == Data("D".utf8).base64EncodedString())
        #expect(line.hasPrefix("{\"line\":4,\"job_id\":\"id-4\","))
    }

    @Test func `a chunk that is lost is begun again, and its results stay`() async throws {
        let (folder, wanted) = try spool([4, 4])
        let delivered = Delivered()
        let engine = ThreadEngine(spool: folder.spool, losses: [1: [2, 0]])
        try await FarmRun(spool: folder.spool, wanted: wanted, engine: engine) { delivered.add($0, $1) }.run(
            isNew: true)
        #expect(delivered.counts == Array(repeating: 1, count: 8))
        #expect(await engine.submitted == [[0, 1], [1], [1]])
    }

    @Test func `a chunk that is lost again and again is given up, with its worker's last words`() async throws {
        let (folder, wanted) = try spool([1, 2])
        let engine = ThreadEngine(spool: folder.spool, losses: [1: Array(repeating: 0, count: FarmRun.submissionLimit)])
        await #expect {
            try await FarmRun(spool: folder.spool, wanted: wanted, engine: engine) { _, _ in }.run(isNew: true)
        } throws: { error in
            let message = (error as? CommandFailure)?.message ?? ""
            return message.contains("2 of its jobs have no result") && message.contains("the power failed")
        }
        #expect(await engine.isCancelled)
    }

    @Test func `what the spool has already is delivered, and not run`() async throws {
        let (folder, wanted) = try spool([2, 1])
        #expect(try folder.spool.publish(Array("{\"mine\":1}\n".utf8), of: "id-3"))
        let delivered = Delivered()
        let engine = ThreadEngine(spool: folder.spool)
        try await FarmRun(spool: folder.spool, wanted: wanted, engine: engine) { delivered.add($0, $1) }.run(
            isNew: false)
        #expect(delivered.lines.withLockedValue { $0["id-3"] } == ["{\"mine\":1}\n"])
        #expect(await engine.submitted == [[0]])
    }

    @Test func `a result that is not taken ends the run, and the workers`() async throws {
        let (folder, wanted) = try spool([2])
        let engine = ThreadEngine(spool: folder.spool)
        await #expect(throws: OutputError.self) {
            try await FarmRun(spool: folder.spool, wanted: wanted, engine: engine) { _, _ in throw OutputError.closed }
                .run(isNew: true)
        }
        #expect(await engine.isCancelled)
    }
}
