// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import SQLite
import Testing

@testable import JobStore

let alice = Tenant.user(1000)
let bob = Tenant.user(1001)

/// A directory of one test, removed with this object.
final class StateDirectory {
    let path: String

    init() throws {
        var template = Array((NSTemporaryDirectory() + "kvmjob-store-XXXXXX").utf8CString)
        path = String(cString: try #require(mkdtemp(&template)))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Opens the store in it; a store that is open must have gone before.
    func store(_ limits: DetachedLimits = DetachedLimits()) throws -> JobStore {
        try JobStore(directory: path, limits: limits)
    }

    var database: String { path + "/" + JobStore.fileName }

    /// What another connection finds, as the program sqlite3 writes it.
    func sqlite3(_ statements: String) throws -> String {
        let connection = try Database(path: database)
        var lines: [String] = []
        for statement in statements.split(separator: ";") {
            lines += try connection.all(String(statement)) { row in
                (0..<row.columnCount).map { row.text($0) ?? "" }.joined(separator: "|")
            }
        }
        return lines.joined(separator: "\n")
    }
}

/// A store of one test. Its directory is removed at once: a store that is open needs only what it has open.
func openStore(_ limits: DetachedLimits = DetachedLimits()) throws -> JobStore { try StateDirectory().store(limits) }

func digest(_ byte: UInt8) throws -> ContentDigest {
    try #require(ContentDigest([UInt8](repeating: byte, count: ContentDigest.byteCount)))
}

func newJob(_ id: UInt64, _ tenant: Tenant = alice, _ change: (inout NewJob) throws -> Void = { _ in }) throws -> NewJob
{
    var job = NewJob(id: id, tenant: tenant, submissionDigest: try digest(UInt8(truncatingIfNeeded: id)))
    job.acceptedAt = 100 + id
    try change(&job)
    return job
}

func blob(_ byte: UInt8, _ count: Int) throws -> NewJob.Blob {
    NewJob.Blob(digest: try digest(byte), bytes: [UInt8](repeating: byte, count: count))
}

extension JobStore {
    /// Adds a job, starts it, lets it write and ends it.
    func runThrough(_ job: NewJob, output: Int = 0, result: Int = 0, at time: UInt64 = 0) throws {
        #expect(try add(job) == .added)
        #expect(try noteStart(job.id) == 1)
        try append(job.id, .console, [UInt8](repeating: 7, count: output))
        #expect(try finish(job.id, outcome: 1, result: [UInt8](repeating: 8, count: result), at: time))
    }

    /// All output from a position on, page by page.
    func allOutput(of id: UInt64, from offsets: [OutputChannel: UInt64] = [:], limit: Int = 1000) throws -> [OutputPage
        .Chunk]
    {
        var (position, chunks) = (OutputPosition(offsets), [OutputPage.Chunk]())
        while true {
            let page = try #require(try output(of: id, from: position, limit: limit))
            #expect(page.chunks.reduce(0) { $0 + $1.bytes.count } <= limit)
            chunks += page.chunks
            position = page.position
            guard page.hasMore else { return chunks }
        }
    }

    func text(of id: UInt64, _ channel: OutputChannel, from offset: UInt64 = 0, limit: Int = 1000) throws -> [UInt8] {
        try allOutput(of: id, from: [channel: offset], limit: limit).filter { $0.channel == channel }.flatMap(\.bytes)
    }
}
