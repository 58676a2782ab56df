// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobScheduling

extension Scheduler {
    /// Cancels a job that no slot has taken yet.
    fileprivate mutating func stop(_ job: JobKey) {
        if cancel(job, by: .client) == [.stop(job, .client)] { _ = finished(job) }
    }
}

/// What jobs that wait keep in memory.
@Suite struct WaitingBytesTests {
    private let keys = (1...40).map { JobKey(UInt64($0)) }

    private func sharing(_ number: UInt64, _ bytes: Int) -> Holding {
        Holding(bytes: 1, shared: .init(number: number, bytes: bytes))
    }

    @Test(arguments: [0, 4]) func `what many have in common counts once, from the first to the last of them`(
        ahead: Int
    ) throws {
        var scheduler = Scheduler(slots: 1, ahead: ahead, waitingBytes: 100)
        for key in keys[0...20] { _ = try scheduler.submit(key, holding: sharing(1, 70)) }
        let refusal = #expect(throws: Refusal.self) { try scheduler.submit(keys[21], holding: sharing(2, 10)) }
        #expect(refusal?.rule == .queueFull && refusal?.value == 101, "20 wait with a byte each, 70 are in common")
        #expect(try scheduler.submit(keys[22], holding: sharing(2, 9)).position == 20)
        #expect(throws: Refusal.self) { try scheduler.checkRoom(for: .user(1)) }
        for key in keys[1...19] { scheduler.stop(key) }
        #expect(throws: Refusal.self) { try scheduler.submit(keys[23], bytes: 20) }
        #expect(throws: Never.self) { try scheduler.checkRoom(for: .user(1), holding: Holding(bytes: 19)) }
        scheduler.stop(keys[20])
        #expect(try scheduler.submit(keys[24], bytes: 90).position == 1, "nobody waits for the 70 any more")
        for key in [keys[0], keys[22], keys[24]] { _ = scheduler.finished(key) }
        #expect(scheduler.isIdle)
        for key in keys[30...31] { _ = try scheduler.submit(key, bytes: 100) }
        #expect(throws: Refusal.self) { try scheduler.checkRoom(for: .user(1)) }
    }

    @Test func `when all are stopped nothing is left on the account`() throws {
        var scheduler = Scheduler(slots: 1, ahead: 2, waitingBytes: 100)
        for key in keys[0...9] { _ = try scheduler.submit(key, holding: sharing(1, 70)) }
        for case .stop(let key, _) in scheduler.cancelAll(by: .drain) { _ = scheduler.finished(key) }
        #expect(scheduler.isIdle)
        for key in keys[30...31] { _ = try scheduler.submit(key, bytes: 100) }
    }
}
