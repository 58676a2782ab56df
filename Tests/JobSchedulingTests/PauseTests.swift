// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobScheduling

@Suite struct PauseTests {
    private let keys = (1...9).map { JobKey(UInt64($0)) }

    /// One slot, the first job paused and the second one in its place.
    private func onePaused() throws -> Scheduler {
        var scheduler = Scheduler(slots: 1)
        _ = try scheduler.submit(keys[0], bytes: 10)
        _ = try scheduler.submit(keys[1], bytes: 10)
        #expect(scheduler.paused(keys[0]) == [.start(keys[1])])
        return scheduler
    }

    @Test func `a paused job gives its slot away and comes back behind those that wait`() throws {
        var scheduler = try onePaused()
        _ = try scheduler.submit(keys[2], bytes: 10)
        #expect(scheduler.isPaused(keys[0]) && scheduler.pausedCount == 1)
        #expect(scheduler.runningCount == 1 && scheduler.queuedCount == 1)
        #expect(scheduler.extended(keys[0]) == [])
        #expect(!scheduler.isPaused(keys[0]) && scheduler.pausedCount == 0 && scheduler.queuedCount == 2)
        #expect(scheduler.finished(keys[1]) == [.start(keys[2])])
        #expect(scheduler.finished(keys[2]) == [.resume(keys[0])])
        #expect(scheduler.paused(keys[0]) == [], "it can be paused again")
        #expect(scheduler.extended(keys[0]) == [.resume(keys[0])])
        #expect(scheduler.finished(keys[0]) == [])
        #expect(scheduler.isIdle)
    }

    @Test func `an extended job does not count against the queue's limits`() throws {
        var scheduler = Scheduler(slots: 1, queuedJobs: 1, waitingBytes: 10)
        _ = try scheduler.submit(keys[0], bytes: 10)
        _ = try scheduler.submit(keys[1], bytes: 10)
        #expect(scheduler.paused(keys[0]) == [.start(keys[1])])
        _ = try scheduler.submit(keys[2], bytes: 10)
        #expect(scheduler.extended(keys[0]) == [])
        #expect(scheduler.queuedCount == 2)
        let refusal = #expect(throws: Refusal.self) { try scheduler.submit(keys[3], bytes: 0) }
        #expect(refusal?.rule == .queueFull, "new jobs wait behind it")
    }

    @Test func `a paused job that gets no more steps ends once, and holds no slot meanwhile`() throws {
        var scheduler = try onePaused()
        #expect(scheduler.end(keys[0]) == [.end(keys[0], nil)])
        #expect(scheduler.end(keys[0]) == [], "it is ending")
        #expect(scheduler.extended(keys[0]) == [], "too late")
        #expect(scheduler.cancel(keys[0], by: .client) == [])
        #expect(scheduler.pausedCount == 1 && !scheduler.isIdle, "its result has still to come")
        #expect(scheduler.finished(keys[0]) == [])
        #expect(scheduler.runningCount == 1 && scheduler.pausedCount == 0)
        #expect(scheduler.finished(keys[1]) == [])
        #expect(scheduler.isIdle)
    }

    @Test func `ending and extending mean nothing for jobs that are not paused`() throws {
        var scheduler = try onePaused()
        for key in [keys[1], keys[8]] {
            #expect(scheduler.end(key) == [])
            #expect(scheduler.extended(key) == [])
        }
        #expect(scheduler.finished(keys[1]) == [])
    }

    @Test func `a paused job is cancelled, and so is one that waits to go on`() throws {
        var scheduler = try onePaused()
        #expect(scheduler.cancel(keys[0], by: .client) == [.end(keys[0], .client)])
        #expect(scheduler.finished(keys[0]) == [])
        #expect(scheduler.paused(keys[1]) == [])
        _ = try scheduler.submit(keys[2], bytes: 1)
        #expect(scheduler.extended(keys[1]) == [])
        #expect(scheduler.cancel(keys[1], by: .disconnect) == [.end(keys[1], .disconnect)])
        #expect(scheduler.queuedCount == 0)
        #expect(scheduler.finished(keys[2]) == [], "nothing waits any more")
        #expect(scheduler.finished(keys[1]) == [])
        #expect(scheduler.isIdle)
    }

    @Test func `a job that was told to stop ends where it would be paused`() throws {
        var scheduler = Scheduler(slots: 1)
        _ = try scheduler.submit(keys[0], bytes: 1)
        _ = try scheduler.submit(keys[1], bytes: 1)
        #expect(scheduler.cancel(keys[0], by: .client) == [.stop(keys[0], .client)])
        #expect(scheduler.paused(keys[0]) == [.end(keys[0], .client), .start(keys[1])])
        #expect(!scheduler.isPaused(keys[0]))
        #expect(scheduler.finished(keys[0]) == [])
        #expect(scheduler.finished(keys[1]) == [])
    }

    @Test func `a drain ends paused jobs, now and later, and lets extended ones finish`() throws {
        var scheduler = Scheduler(slots: 2)
        for key in keys[0...3] { _ = try scheduler.submit(key, bytes: 1) }
        #expect(scheduler.paused(keys[0]) == [.start(keys[2])])
        #expect(scheduler.paused(keys[1]) == [.start(keys[3])])
        #expect(scheduler.extended(keys[1]) == [])
        #expect(scheduler.drain() == [.end(keys[0], nil)])
        #expect(scheduler.finished(keys[2]) == [.resume(keys[1])])
        #expect(scheduler.paused(keys[1]) == [.end(keys[1], nil)])
        #expect(scheduler.cancelAll(by: .drain) == [.stop(keys[3], .drain)])
    }

    @Test func `all that is left can be stopped, wherever it is`() throws {
        var scheduler = Scheduler(slots: 1)
        for key in keys[0...3] { _ = try scheduler.submit(key, bytes: 1) }
        #expect(scheduler.paused(keys[0]) == [.start(keys[1])])
        #expect(scheduler.paused(keys[1]) == [.start(keys[2])])
        #expect(scheduler.extended(keys[1]) == [])
        #expect(
            scheduler.cancelAll(by: .drain) == [
                .end(keys[0], .drain), .end(keys[1], .drain), .stop(keys[2], .drain), .abandon(keys[3], .drain),
            ])
        for key in keys[0...2] { #expect(scheduler.finished(key) == []) }
        #expect(scheduler.isIdle)
    }
}
