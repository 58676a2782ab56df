// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import SeededRandom
import Testing

@testable import JobStore

@Suite struct RetentionTests {
    static func limits(jobs: Int = 100, bytes: UInt64 = 1000) -> DetachedLimits {
        var limits = DetachedLimits()
        (limits.tenantJobs, limits.tenantBytes, limits.time) = (jobs, bytes, .seconds(60))
        return limits
    }

    @Test func `the job that ended first makes room for another`() throws {
        let store = try openStore(Self.limits(jobs: 3))
        try store.runThrough(try newJob(1), at: 30)
        try store.runThrough(try newJob(2), at: 10)
        #expect(try store.add(try newJob(3)) == .added)
        #expect(try store.add(try newJob(4)) == .added)
        #expect(try store.list(alice, limit: 9).map(\.id) == [1, 3, 4])
        #expect(try store.add(try newJob(5)) == .added)
        #expect(try store.list(alice, limit: 9).map(\.id) == [3, 4, 5])
        #expect(try store.add(try newJob(6)) == .full(.jobs(limit: 3, unfinished: 3)))
        #expect(try store.list(alice, limit: 9).map(\.id) == [3, 4, 5])
        #expect(try store.add(try newJob(7, bob)) == .added)
        #expect(try store.finish(4, outcome: 1, result: [], at: 40))
        #expect(try store.add(try newJob(8)) == .added)
        #expect(try store.list(alice, limit: 9).map(\.id) == [3, 5, 8])
    }

    @Test func `as many go as the bytes of the new one ask for, and none when that does not help`() throws {
        let store = try openStore(Self.limits(bytes: 1000))
        for id in 1...4 as ClosedRange<UInt64> { try store.runThrough(try newJob(id), output: 150, result: 50, at: id) }
        #expect(try store.usage(of: alice).bytes == 800)
        #expect(try store.add(try newJob(5) { $0.input = [UInt8](repeating: 0, count: 350) }) == .added)
        #expect(try store.list(alice, limit: 9).map(\.id) == [2, 3, 4, 5])
        #expect(try store.usage(of: alice).bytes == 950)
        let large = try newJob(6) { $0.submission = [UInt8](repeating: 0, count: 651) }
        #expect(try store.add(large) == .full(.bytes(limit: 1000, needed: 1001)))
        #expect(try store.list(alice, limit: 9).map(\.id) == [2, 3, 4, 5])
        #expect(try store.add(try newJob(7) { $0.submission = [UInt8](repeating: 0, count: 650) }) == .added)
        #expect(try store.list(alice, limit: 9).map(\.id) == [5, 7])
        #expect(try store.usage(of: alice).bytes == 1000)
    }

    @Test func `what a job leaves at its end takes the place of older ones, and its own is always kept`() throws {
        let store = try openStore(Self.limits(bytes: 1000))
        for id in 1...3 as ClosedRange<UInt64> { try store.runThrough(try newJob(id), output: 250, result: 50, at: id) }
        for id in 4...5 as ClosedRange<UInt64> { #expect(try store.add(try newJob(id)) == .added) }
        #expect(try store.noteStart(4) == 1)
        try store.append(4, .console, [UInt8](repeating: 1, count: 300))
        #expect(try store.finish(4, outcome: 1, result: [], at: 4))
        #expect(try store.list(alice, limit: 9).map(\.id) == [2, 3, 4, 5])
        #expect(try store.finish(5, outcome: 1, result: [UInt8](repeating: 1, count: 1500), at: 0))
        #expect(try store.list(alice, limit: 9).map(\.id) == [5])
        #expect(try store.usage(of: alice).bytes == 1500)
    }

    @Test func `an image counts once, as long as a job is to run with it`() throws {
        let store = try openStore(Self.limits(bytes: 1000))
        for id in 1...5 as ClosedRange<UInt64> {
            #expect(try store.add(try newJob(id) { $0.blobs = [try blob(1, 600), try blob(1, 600)] }) == .added)
        }
        #expect(try store.usage(of: alice).bytes == 600)
        #expect(try store.add(try newJob(6, bob) { $0.blobs = [try blob(1, 600)] }) == .added)
        #expect(try store.usage(of: bob).bytes == 600)
        #expect(try store.usage(of: nil) == StoreUsage(jobs: 6, unfinished: 6, bytes: 1200))
        #expect(
            try store.add(try newJob(7) { $0.blobs = [try blob(2, 401)] }) == .full(.bytes(limit: 1000, needed: 1001)))
        for id in 1...4 as ClosedRange<UInt64> { #expect(try store.finish(id, outcome: 1, result: [], at: 1)) }
        #expect(try store.blob(try digest(1), of: alice)?.count == 600)
        try store.remove(5)
        #expect(try store.blob(try digest(1), of: alice) == nil)
        #expect(try store.usage(of: alice).bytes == 0)
        #expect(try store.blob(try digest(1), of: bob)?.count == 600)
    }

    @Test func `ended jobs expire by age, so many at a time`() throws {
        let store = try openStore(Self.limits(jobs: 1000))
        let count = JobStore.expiredAtOnce + 10
        for id in 1...UInt64(count) { try store.runThrough(try newJob(id), at: 1000 + id) }
        #expect(try store.add(try newJob(9999)) == .added)
        #expect(try store.expire(now: 0) == 0)
        #expect(try store.expire(now: 1060) == 0)
        #expect(try store.expire(now: 1061) == 1)
        #expect(try store.list(nil, limit: 1).map(\.id) == [2])
        #expect(try store.expire(now: .max) == JobStore.expiredAtOnce)
        #expect(try store.expire(now: .max) == 9)
        #expect(try store.list(nil, limit: 9).map(\.id) == [9999])
    }

    @Test func `the file gives back what was forgotten`() throws {
        let directory = try StateDirectory()
        do {
            let store = try directory.store()
            for id in 1...20 as ClosedRange<UInt64> { try store.runThrough(try newJob(id), output: 1 << 20, at: 1) }
            try store.commit()
        }
        #expect(Int(try directory.sqlite3("PRAGMA page_count"))! > 5000)
        do {
            let store = try directory.store()
            for _ in 0..<10 {
                _ = try store.expire(now: .max)
                try store.commit()
            }
        }
        #expect(Int(try directory.sqlite3("PRAGMA page_count"))! < 2000)
    }

    /// After any changes the triggers' counts are those that a full count has, and nothing is left of what went.
    @Test(arguments: 1...4 as ClosedRange<UInt64>) func `counts are right after any changes`(seed: UInt64) throws {
        let directory = try StateDirectory()
        var random = SplitMix64(state: seed)
        do {
            let store = try directory.store(Self.limits(jobs: 12, bytes: 3000))
            for id in 1...300 as ClosedRange<UInt64> { try change(store, id, &random) }
            try store.commit()
        }
        let counted = try directory.sqlite3(
            """
            SELECT user, count(*), sum(state = 1), sum(state < 3),
                sum(bytes) + (SELECT ifnull(sum(size), 0) FROM blob WHERE blob.user = job.user),
                sum(bytes * (state = 3)) FROM job GROUP BY user ORDER BY user
            """)
        #expect(counted == (try directory.sqlite3("SELECT * FROM tenant WHERE jobs > 0 ORDER BY user")))
        #expect(!counted.isEmpty)
        let wrong = """
            SELECT 'bytes', id FROM job JOIN content ON job = id WHERE bytes != length(submission) + length(input)
                + length(result) + (SELECT ifnull(sum(length(bytes)), 0) FROM output WHERE output.job = id);
            SELECT 'size', id FROM blob WHERE size != length(bytes);
            SELECT 'unused', id FROM blob WHERE id NOT IN (SELECT blob FROM job_blob);
            SELECT 'left', job FROM output WHERE job NOT IN (SELECT id FROM job);
            SELECT 'left', job FROM content WHERE job NOT IN (SELECT id FROM job);
            PRAGMA foreign_key_check; PRAGMA integrity_check
            """
        #expect(try directory.sqlite3(wrong) == "ok")
    }

    private func change(_ store: JobStore, _ id: UInt64, _ random: inout SplitMix64) throws {
        let jobs = try store.list(nil, limit: 100)
        let some = jobs.randomElement(using: &random)?.id ?? 0
        let count = Int.random(in: 1...300, using: &random)
        switch Int.random(in: 0..<10, using: &random) {
        case 0...3:
            let blobs = try (0..<Int.random(in: 0...3, using: &random)).map { _ in
                try blob(UInt8.random(in: 1...5, using: &random), 200)
            }
            let tenant = [alice, bob, .unnamed].randomElement(using: &random) ?? alice
            let job = try newJob(id, tenant) { ($0.input, $0.blobs) = ([UInt8](repeating: 1, count: count), blobs) }
            _ = try store.add(job)
        case 4, 5: _ = try store.noteStart(some)
        case 6: try store.append(some, .standardError, [UInt8](repeating: 2, count: count))
        case 7: try store.finish(some, outcome: 1, result: [UInt8](repeating: 3, count: count / 10), at: id)
        case 8: try store.putBack(some)
        default:
            if Bool.random(using: &random) { try store.remove(some) } else { _ = try store.forget([some], of: nil) }
        }
    }
}
