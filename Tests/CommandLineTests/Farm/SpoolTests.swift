// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import JobProtocol
import Testing

@testable import kvmjob

/// A folder of its own, which goes with it.
final class SpoolFolder: Sendable {
    let spool: Spool

    init() throws {
        let path = NSTemporaryDirectory() + "kvmjob-spool-" + UUID().uuidString
        spool = Spool(folder: path)
        try spool.makeFolders()
    }

    deinit { try? FileManager.default.removeItem(atPath: spool.folder) }

    /// A job of this machine code.
    func job(_ line: Int, code: [UInt8]) throws -> SpoolJob {
        let job = BatchJob(
            line: line, id: "id-\(line)", label: nil, image: "hex", spec: JobSpec(label: "line \(line)"),
            source: .image(Image(code)), input: nil, hasOwnWallTime: true)
        return try spool.keep(job)
    }
}

@Suite("A spool")
struct SpoolTests {
    @Test func `what was written is what is read`() throws {
        let folder = try SpoolFolder()
        let jobs = try (1...5).map { try folder.job($0, code: [0xF4]) }
        let head = try folder.spool.make([Array(jobs[..<2]), Array(jobs[2...])], retries: 3)
        #expect(try folder.spool.head() == head)
        #expect(head.jobs == 5 && head.chunks == 2 && head.retries == 3)
        #expect(try folder.spool.chunk(0) == Array(jobs[..<2]))
        #expect(try folder.spool.chunk(1) == Array(jobs[2...]))
        #expect(try folder.spool.object(jobs[0].objects[0]).bytes == [0xF4])
        #expect(try jobs[0].spec().label == "line 1")
    }

    @Test func `equal bytes are one object`() throws {
        let folder = try SpoolFolder()
        #expect(try folder.spool.keep(Image([1, 2])) == folder.spool.keep(Image([1, 2]).hashed))
        #expect(try HostFile.list(folder.spool.path("objects")).count == 1)
    }

    @Test func `the first result of a job stays`() throws {
        let folder = try SpoolFolder()
        #expect(try folder.spool.publish(Array("{\"a\":1}\n".utf8), of: "x"))
        #expect(try !folder.spool.publish(Array("{\"a\":2}\n".utf8), of: "x"))
        #expect(try folder.spool.result(of: "x") == Array("{\"a\":1}\n".utf8))
        #expect(try folder.spool.results() == ["x"])
        #expect(try HostFile.list(folder.spool.path("new")).isEmpty)
    }

    @Test func `of many who publish at once one does`() async throws {
        let folder = try SpoolFolder()
        let spool = folder.spool
        let taken = try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<16 { group.addTask { try spool.publish(Array("{\"n\":\(index)}\n".utf8), of: "same") } }
            return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(taken == 1)
        _ = try spool.result(of: "same")
    }

    @Test func `a folder that is a spool is not made one again`() throws {
        let folder = try SpoolFolder()
        _ = try folder.spool.make([[try folder.job(1, code: [0xF4])]], retries: 0)
        #expect(throws: CommandFailure.self) { try folder.spool.make([[]], retries: 0) }
    }

    @Test func `results that are to be had again are dropped, and others stay`() throws {
        let folder = try SpoolFolder()
        for (id, end) in [("a", "\"halted\""), ("b", "\"host-error\""), ("c", "\"exited\",\"code\":1")] {
            let line = "{\"line\":1,\"job_id\":\"\(id)\",\"outcome\":\(end)}\n"
            #expect(try folder.spool.publish(Array(line.utf8), of: id))
        }
        try folder.spool.drop(["b", "c", "z"], .keepFinal)
        #expect(try folder.spool.results().sorted() == ["a", "c"])
        try folder.spool.drop(["a", "c"], .keepSuccesses)
        #expect(try folder.spool.results() == ["a"])
    }

    // MARK: Broken ones

    @Test(arguments: ["{}\n", "x\n", "{\"line\":1,\"job_id\":\"other\",\"outcome\":\"halted\"}\n"])
    func `what is not this job's result is told by its file`(line: String) throws {
        let folder = try SpoolFolder()
        fails("not this job's result", naming: folder.spool.resultPath("x")) {
            _ = try folder.spool.result(Array(line.utf8), of: "x")
        }
    }

    private func fails(_ part: String, naming path: String, _ body: () throws -> Void) {
        #expect {
            try body()
        } throws: { error in
            let message = (error as? CommandFailure)?.message ?? ""
            return message.hasPrefix(path) && message.contains(part)
        }
    }

    @Test(arguments: ["", "{", "{\"format\":1}", "{\"chunks\":0,\"format\":1,\"id\":\"a\",\"jobs\":1,\"retries\":0}"])
    func `a head that is none is told by its file`(text: String) throws {
        let folder = try SpoolFolder()
        try Data(text.utf8).write(to: URL(fileURLWithPath: folder.spool.path("spool.json")))
        fails("spool.json", naming: folder.spool.path("spool.json")) { _ = try folder.spool.head() }
    }

    @Test func `a later format is told`() throws {
        let folder = try SpoolFolder()
        let text = "{\"chunks\":1,\"format\":2,\"id\":\"a\",\"jobs\":1,\"retries\":0}"
        try Data(text.utf8).write(to: URL(fileURLWithPath: folder.spool.path("spool.json")))
        fails("format 2", naming: folder.spool.path("spool.json")) { _ = try folder.spool.head() }
    }

    @Test func `a chunk's bad line is told by file and number`() throws {
        let folder = try SpoolFolder()
        let good = try JSONEncoder().encode(try folder.job(1, code: [0xF4]))
        let bad = [
            ("{}", "it has no"), ("[1]", "is no job"), ("x", "is no job"),
            (String(decoding: good, as: UTF8.self).replacing("id-1", with: "../../etc/passwd"), "job_id"),
            (String(decoding: good, as: UTF8.self).replacing("\"objects\":[\"", with: "\"objects\":[\"../"), "object"),
        ]
        for (line, part) in bad {
            let text = good + Data("\n\(line)\n".utf8)
            try text.write(to: URL(fileURLWithPath: folder.spool.chunkPath(0)))
            fails(part, naming: folder.spool.chunkPath(0) + " line 2") { _ = try folder.spool.chunk(0) }
        }
    }

    @Test func `an object that was changed is told`() throws {
        let folder = try SpoolFolder()
        let name = try folder.spool.keep(Image([1, 2, 3]))
        try Data([1, 2, 4]).write(to: URL(fileURLWithPath: folder.spool.objectPath(name)))
        fails("SHA-256", naming: folder.spool.objectPath(name)) { _ = try folder.spool.object(name) }
        let missing = String(repeating: "0", count: 64)
        fails("no such file", naming: folder.spool.objectPath(missing)) { _ = try folder.spool.object(missing) }
    }

    @Test(arguments: ["{\"a\":1}", "{\"a\":1}\n{\"b\":2}\n", ""])
    func `a result that is not one whole line is told`(text: String) throws {
        let folder = try SpoolFolder()
        try Data(text.utf8).write(to: URL(fileURLWithPath: folder.spool.resultPath("x")))
        fails("not one whole line", naming: folder.spool.resultPath("x")) { _ = try folder.spool.result(of: "x") }
    }

    @Test func `a submission that is none is an error, not the end of the worker`() throws {
        let folder = try SpoolFolder()
        var job = try folder.job(1, code: [0xF4])
        for length in 0..<job.submit.count {
            var cut = job
            cut.submit = job.submit.prefix(length)
            do { _ = try cut.spec() } catch { #expect(!error.description.isEmpty) }
        }
        job.submit = Data(repeating: 0xFF, count: 40)
        #expect(throws: ValueError.self) { try job.spec() }
        job.submit = Data(Submit(mode: 99, imageBytes: 1).payload)
        #expect(throws: ValueError.self) { try job.spec() }
    }
}

@Suite("How a batch is split")
struct ChunkPlanTests {
    @Test(arguments: [
        // jobs, seconds each, nodes, chunks: by time; at least four for each machine; never more than jobs; at most 1000.
        (50_000, 0.01, 1, 4), (50_000, 0.1, 1, 21), (10, 0.001, 4, 10), (400, 0.1, 2, 8), (1_000_000, 60.0, 1, 1000),
        (1, 1.0, 100, 1), (2000, 0.0, 1, 4),
    ])
    func `chunks take about a minute, and each machine has four`(jobs: Int, seconds: Double, nodes: Int, chunks: Int) {
        var plan = ChunkPlan(jobs: jobs)
        (plan.jobSeconds, plan.nodes) = (seconds, nodes)
        #expect(plan.chunks == chunks)
    }

    @Test(arguments: [1, 3, 4, 5, 7, 1000, 1001])
    func `every job is in one chunk, in order, and no chunk is empty`(count: Int) {
        var plan = ChunkPlan(jobs: count)
        plan.jobSeconds = 30
        let chunks = plan.split(Array(0..<count))
        #expect(chunks.flatMap(\.self) == Array(0..<count))
        let sizes = chunks.map(\.count)
        #expect((sizes.min() ?? 0) > 0 && (sizes.max() ?? 0) - (sizes.min() ?? 0) <= 1)
    }

    @Test func `budgets declare what jobs need, up to a second`() {
        #expect(ChunkPlan.declaredSeconds([0.5, 10]) == 0.75)
        #expect(ChunkPlan.declaredSeconds([]) == ChunkPlan.usualJobSeconds)
    }
}
