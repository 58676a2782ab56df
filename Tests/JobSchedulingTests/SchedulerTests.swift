// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobScheduling

@Suite("The scheduler")
struct SchedulerTests {
    private let keys = (1...9).map { JobKey(UInt64($0)) }

    @Test("Jobs start in the order in which they came, one for each slot")
    func order() throws {
        var scheduler = Scheduler(slots: 2)
        #expect(try scheduler.submit(keys[0], bytes: 1).actions == [.start(keys[0])])
        #expect(try scheduler.submit(keys[1], bytes: 1).actions == [.start(keys[1])])
        let third = try scheduler.submit(keys[2], bytes: 1)
        #expect(third.actions.isEmpty)
        #expect(third.position == 0)
        #expect(try scheduler.submit(keys[3], bytes: 1).position == 1)
        #expect(scheduler.finished(keys[1]) == [.start(keys[2])])
        #expect(scheduler.finished(keys[0]) == [.start(keys[3])])
        #expect(scheduler.queuedCount == 0)
        #expect(scheduler.runningCount == 2)
    }

    @Test("A queued job is abandoned, a running one stopped, an ended one left alone")
    func cancel() throws {
        var scheduler = Scheduler(slots: 1)
        _ = try scheduler.submit(keys[0], bytes: 1)
        _ = try scheduler.submit(keys[1], bytes: 1)
        #expect(scheduler.cancel(keys[1], by: .client) == [.abandon(keys[1], .client)])
        #expect(scheduler.cancel(keys[1], by: .client) == [])
        #expect(scheduler.cancel(keys[0], by: .disconnect) == [.stop(keys[0], .disconnect)])
        #expect(scheduler.cancel(keys[0], by: .client) == [], "it is stopping already")
        #expect(scheduler.finished(keys[0]) == [])
        #expect(scheduler.isIdle)
    }

    @Test("A full queue refuses, says its limit, and takes jobs again when there is room")
    func queueLimit() throws {
        var scheduler = Scheduler(slots: 1, queuedJobs: 1)
        _ = try scheduler.submit(keys[0], bytes: 1)
        _ = try scheduler.submit(keys[1], bytes: 1)
        let refusal = #expect(throws: Refusal.self) { try scheduler.submit(keys[2], bytes: 1) }
        #expect(refusal?.rule == .queueFull)
        #expect(refusal?.limit == 1)
        #expect(refusal?.isRetryable == true)
        _ = scheduler.finished(keys[0])
        _ = try scheduler.submit(keys[3], bytes: 1)
    }

    @Test("Waiting images are bounded by their bytes")
    func waitingBytes() throws {
        var scheduler = Scheduler(slots: 1, waitingBytes: 10)
        _ = try scheduler.submit(keys[0], bytes: 1000)
        _ = try scheduler.submit(keys[1], bytes: 10)
        let refusal = #expect(throws: Refusal.self) { try scheduler.submit(keys[2], bytes: 1) }
        #expect(refusal?.rule == .queueFull)
        #expect(refusal?.value == 11)
        _ = scheduler.cancel(keys[1], by: .client)
        _ = try scheduler.submit(keys[3], bytes: 10)
    }

    @Test("A draining scheduler refuses new jobs and finishes old ones; then all can be stopped")
    func drain() throws {
        var scheduler = Scheduler(slots: 1)
        _ = try scheduler.submit(keys[0], bytes: 1)
        _ = try scheduler.submit(keys[1], bytes: 1)
        #expect(scheduler.drain() == [])
        #expect(throws: Refusal.self) { try scheduler.submit(keys[2], bytes: 1) }
        #expect(scheduler.cancelAll(by: .drain) == [.stop(keys[0], .drain), .abandon(keys[1], .drain)])
        #expect(scheduler.finished(keys[0]) == [])
        #expect(scheduler.isIdle)
    }
}
