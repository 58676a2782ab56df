// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobStore

@Suite struct JobStoreTests {
    @Test func `a job is kept with all that it is run with, over a reopening`() throws {
        let directory = try StateDirectory()
        let job = try newJob(7) {
            ($0.key, $0.priority, $0.title) = ("nightly", 8, "täst")
            ($0.submission, $0.input) = ([1, 2, 3], [9, 9])
            $0.blobs = [try blob(2, 10), try blob(1, 5), try blob(2, 10)]
        }
        do {
            let store = try directory.store()
            #expect(try store.add(job) == .added)
            try store.commit()
        }
        let store = try directory.store()
        #expect(store.cutShort == [])
        var expected = DetachedJob(id: 7, tenant: alice, state: .waiting)
        (expected.acceptedAt, expected.title, expected.key) = (107, "täst", "nightly")
        #expect(try store.job(7) == KeptJob(job: expected, priority: 8, cuts: 0))
        let submission = try #require(try store.submission(of: 7))
        #expect(submission.payload == [1, 2, 3] && submission.input == [9, 9])
        #expect(submission.blobs == [try digest(2), try digest(1), try digest(2)])
        #expect(try store.blob(try digest(2), of: alice) == [UInt8](repeating: 2, count: 10))
        #expect(try store.blob(try digest(2), of: bob) == nil)
        #expect(try store.usage(of: alice) == StoreUsage(jobs: 1, unfinished: 1, bytes: 20))
    }

    @Test func `what was not committed was never done`() throws {
        let directory = try StateDirectory()
        do {
            let store = try directory.store()
            #expect(try store.add(try newJob(1)) == .added)
            try store.commit()
            #expect(try store.noteStart(1) == 1)
            #expect(try store.add(try newJob(2)) == .added)
        }
        let store = try directory.store()
        #expect(try store.list(nil, limit: 10).map(\.id) == [1])
        #expect(try store.job(1)?.job.state == .waiting)
        #expect(store.cutShort == [])
        #expect(try store.highestID() == 1)
    }

    @Test func `a job goes from waiting over running to its result`() throws {
        let store = try openStore()
        #expect(try store.noteStart(1) == nil)
        #expect(try store.add(try newJob(1) { ($0.submission, $0.blobs) = ([1, 2], [try blob(3, 50)]) }) == .added)
        #expect(try store.result(of: 1) == nil)
        #expect(try store.append(1, .console, [1]) == false)
        #expect(try store.noteStart(1) == 1)
        #expect(try store.noteStart(1) == nil)
        #expect(try store.job(1)?.job.state == .running)
        #expect(try store.append(1, .console, [1, 2, 3]))
        #expect(try store.finish(1, outcome: 4, result: [5, 6], at: 300))
        try store.commit()
        let job = try #require(try store.job(1)?.job)
        #expect(job.state == .ended && job.outcome == 4 && job.endedAt == 300 && job.run == 1 && job.outputBytes == 3)
        #expect(try store.result(of: 1) == [5, 6])
        #expect(try store.finish(1, outcome: 2, result: [], at: 301) == false)
        #expect(try store.append(1, .console, [1]) == false)
        #expect(try store.submission(of: 1) == StoredSubmission(payload: [], blobs: [], input: []))
        #expect(try store.blob(try digest(3), of: alice) == nil)
        #expect(try store.usage(of: alice) == StoreUsage(jobs: 1, unfinished: 0, bytes: 5))
    }

    @Test func `a waiting job can end without a run`() throws {
        let store = try openStore()
        #expect(try store.add(try newJob(1)) == .added)
        #expect(try store.finish(1, outcome: 6, result: [1], at: 5))
        #expect(try store.nextWaiting(of: alice, limit: 5) == [])
        #expect(try store.tenantsWaiting() == [])
        #expect(try store.job(1)?.job.run == 0)
    }

    @Test func `the same key means the same job, for one user`() throws {
        let store = try openStore()
        let job = try newJob(1) { $0.key = "k" }
        #expect(try store.add(job) == .added)
        var again = job
        again.id = 2
        #expect(try store.add(again) == .repeated(id: 1))
        #expect(try store.add(try newJob(3) { $0.key = "k" }) == .conflicting(id: 1))
        #expect(try store.add(try newJob(4, bob) { $0.key = "k" }) == .added)
        try store.runThrough(try newJob(5) { $0.key = "other" })
        #expect(try store.add(try newJob(6) { $0.key = "other" }) == .conflicting(id: 5))
        #expect(try store.forget([5], of: alice) == [.forgotten])
        #expect(try store.add(try newJob(7) { $0.key = "other" }) == .added)
        #expect(try store.list(nil, limit: 10).map(\.id) == [1, 4, 7])
    }

    @Test func `waiting jobs go by priority, then by number, each once`() throws {
        let store = try openStore()
        for (id, priority) in [(1, 5), (2, 9), (3, 5), (4, 0), (5, 9)] as [(UInt64, UInt8)] {
            #expect(try store.add(try newJob(id) { $0.priority = priority }) == .added)
        }
        #expect(try store.add(try newJob(6, .unnamed)) == .added)
        #expect(try store.add(try newJob(7, bob)) == .added)
        #expect(try store.tenantsWaiting() == [alice, bob, .unnamed])
        #expect(try store.nextWaiting(of: alice, limit: 9).map(\.job.id) == [2, 5, 1, 3, 4])
        #expect(try store.nextWaiting(of: alice, limit: 2, excluding: [2, 1]).map(\.job.id) == [5, 3])
        #expect(try store.nextWaiting(of: alice, limit: 0) == [])
        #expect(try store.noteStart(5) == 1)
        #expect(try store.nextWaiting(of: alice, limit: 2).map(\.job.id) == [2, 1])
        #expect(try store.noteStart(6) == 1)
        #expect(try store.tenantsWaiting() == [alice, bob])
        #expect(try store.unfinishedCount(of: alice) == 5)
        #expect(try store.unfinishedCount(of: .unnamed) == 1)
    }

    @Test func `lists go on behind a number`() throws {
        let store = try openStore()
        for id in 1...9 as ClosedRange<UInt64> {
            #expect(try store.add(try newJob(id, id % 3 == 0 ? bob : alice)) == .added)
        }
        #expect(try store.list(alice, limit: 3).map(\.id) == [1, 2, 4])
        #expect(try store.list(alice, after: 4, limit: 9).map(\.id) == [5, 7, 8])
        #expect(try store.list(bob, after: 3, limit: 9).map(\.id) == [6, 9])
        #expect(try store.list(nil, after: 6, limit: 2).map(\.id) == [7, 8])
        #expect(try store.list(nil, after: .max, limit: 2) == [])
    }

    @Test func `numbers are not given again after the jobs are gone`() throws {
        let directory = try StateDirectory()
        do {
            let store = try directory.store()
            #expect(try store.highestID() == 0)
            try store.runThrough(try newJob(41))
            #expect(try store.forget([41], of: alice) == [.forgotten])
            #expect(try store.add(try newJob(42)) == .added)
            try store.remove(42)
            try store.commit()
            #expect(try store.usage(of: nil) == StoreUsage())
        }
        #expect(try directory.store().highestID() == 42)
    }

    @Test func `only jobs that ended are forgotten, by their user or by an operator`() throws {
        let store = try openStore()
        #expect(try store.add(try newJob(1)) == .added)
        try store.runThrough(try newJob(2), output: 10, result: 5)
        try store.runThrough(try newJob(3, bob))
        #expect(
            try store.forget([1, 2, 3, 99, .max], of: alice) == [.unfinished, .forgotten, .unknown, .unknown, .unknown])
        #expect(try store.forget([3, 2, 1], of: nil) == [.forgotten, .unknown, .unfinished])
        #expect(try store.job(2) == nil)
        #expect(try store.result(of: 2) == nil)
        #expect(try store.output(of: 2, from: OutputPosition(), limit: 10) == nil)
        #expect(try store.submission(of: 2) == nil)
        #expect(try store.usage(of: nil).jobs == 1)
    }
}
