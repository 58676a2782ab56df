// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobScheduling

extension Scheduler {
    /// Jobs turn out to be short, so that several of them go ahead.
    fileprivate mutating func runShortJob() throws {
        let job = JobKey(1_000_000)
        _ = try submit(job, bytes: 1)
        _ = finished(job)
    }
}

/// Jobs that the slots are given before one of them is free.
@Suite struct AheadTests {
    private let keys = (1...9).map { JobKey(UInt64($0)) }

    /// One slot, and four jobs of 10 bytes: one runs, two are ahead, one waits in the queue.
    private func oneAndTwo(queueLimit: Int = 16, waitingBytesLimit: Int = 1000) throws -> Scheduler {
        var scheduler = Scheduler(
            slots: 1, ahead: 2, queuedJobs: queueLimit, waitingBytes: waitingBytesLimit)
        try scheduler.runShortJob()
        for key in keys[0...2] { #expect(try scheduler.submit(key, bytes: 10).actions == [.start(key)]) }
        #expect(try scheduler.submit(keys[3], bytes: 10).actions == [])
        return scheduler
    }

    @Test func `a job that is ahead waits in every count`() throws {
        var scheduler = try oneAndTwo(queueLimit: 4, waitingBytesLimit: 49)
        #expect(scheduler.runningCount == 1 && scheduler.queuedCount == 3)
        let tooMuch = #expect(throws: Refusal.self) { try scheduler.submit(keys[4], bytes: 20) }
        #expect(tooMuch?.limit == 49 && tooMuch?.value == 50)
        #expect(try scheduler.submit(keys[5], bytes: 19).position == 3)
        let tooMany = #expect(throws: Refusal.self) { try scheduler.submit(keys[6], bytes: 0) }
        #expect(tooMany?.limit == 4 && tooMany?.value == 5)
    }

    @Test func `a slot that ends a job has the next one, and another comes up behind it`() throws {
        var scheduler = try oneAndTwo(waitingBytesLimit: 30)
        #expect(scheduler.finished(keys[0]) == [.start(keys[3])])
        #expect(scheduler.runningCount == 1 && scheduler.queuedCount == 2)
        #expect(try scheduler.submit(keys[4], bytes: 10).position == 2, "the bytes of the one that runs are free again")
        for key in keys[1...2] { _ = scheduler.finished(key) }
        for key in keys[3...4] { #expect(scheduler.finished(key) == []) }
        #expect(scheduler.isIdle && scheduler.runningCount == 0)
    }

    @Test func `one that is cancelled while it is ahead gives its place to the next, and its slot is nobody's`() throws
    {
        var scheduler = try oneAndTwo(waitingBytesLimit: 30)
        #expect(scheduler.cancel(keys[1], by: .client) == [.stop(keys[1], .client)])
        #expect(scheduler.cancel(keys[1], by: .client) == [], "it is stopping already")
        #expect(scheduler.finished(keys[1]) == [.start(keys[3])], "no slot had taken it")
        #expect(scheduler.runningCount == 1 && scheduler.queuedCount == 2)
        #expect(try scheduler.submit(keys[4], bytes: 10).position == 2, "its bytes are free")
        #expect(scheduler.finished(keys[0]) == [.start(keys[4])])
        for key in keys[2...4] { #expect(scheduler.finished(key) == []) }
        #expect(scheduler.isIdle)
    }

    @Test func `one that a slot had taken when it was cancelled ends as one that ran`() throws {
        var scheduler = try oneAndTwo()
        #expect(scheduler.cancel(keys[1], by: .client) == [.stop(keys[1], .client)])
        #expect(scheduler.finished(keys[0]) == [.start(keys[3])])
        #expect(scheduler.runningCount == 1 && scheduler.queuedCount == 2)
        #expect(scheduler.finished(keys[1]) == [])
        #expect(scheduler.runningCount == 1 && scheduler.queuedCount == 1)
    }

    @Test func `a job that goes on after a pause is never ahead`() throws {
        var scheduler = Scheduler(slots: 1, ahead: 2)
        for key in keys[0...1] { _ = try scheduler.submit(key, bytes: 1) }
        #expect(scheduler.paused(keys[0]) == [])
        #expect(scheduler.extended(keys[0]) == [], "there is room ahead, but its machine is kept until it has a slot")
        #expect(try scheduler.submit(keys[2], bytes: 1).actions == [], "behind it")
        #expect(scheduler.finished(keys[1]) == [.resume(keys[0]), .start(keys[2])])
    }

    @Test func `all that is left can be stopped, ahead or not`() throws {
        var scheduler = try oneAndTwo()
        #expect(
            scheduler.cancelAll(by: .drain) == [
                .stop(keys[2], .drain), .stop(keys[1], .drain), .stop(keys[0], .drain), .abandon(keys[3], .drain),
            ])
        for key in [keys[2], keys[0], keys[1]] { #expect(scheduler.finished(key) == []) }
        #expect(scheduler.isIdle && scheduler.runningCount == 0)
        #expect(try scheduler.submit(keys[4], bytes: 1000).actions == [.start(keys[4])], "no bytes wait")
    }

    /// What the slots have and no slot has taken ends at once when it is stopped.
    @Test func `jobs that are stopped from the last to the first let none of them come up`() throws {
        var scheduler = Scheduler(slots: 2, ahead: 16)
        try scheduler.runShortJob()
        let keys = (1...100).map { JobKey(UInt64($0)) }
        for key in keys { _ = try scheduler.submit(key, bytes: 1) }
        var started: [JobKey] = []
        for key in keys.reversed() {
            for action in scheduler.cancel(key, by: .disconnect) {
                guard case .stop(let stopped, _) = action, stopped > keys[1] else { continue }
                for case .start(let next, _) in scheduler.finished(stopped) { started.append(next) }
            }
        }
        #expect(started.isEmpty && scheduler.queuedCount == 0 && scheduler.runningCount == 2)
    }
}
