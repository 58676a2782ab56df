// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import JobModel
import JobScheduling
import NIOConcurrencyHelpers
import Testing

@testable import Worker

@Suite struct EventQueueTests {
    private let calls = NIOLockedValueBox(0)
    private let key = JobKey(1)

    private func makeQueue() -> EventQueue { EventQueue { [calls] in calls.withLockedValue { $0 += 1 } } }

    private var count: Int { calls.withLockedValue { $0 } }

    private func numbers(_ entries: [EventQueue.Entry]) -> [Int] {
        entries.compactMap { if case .inputConsumed(let number) = $0.event { number } else { nil } }
    }

    @Test func `one call for all that is told until the reader looks, and all of it comes in order`() {
        let queue = makeQueue()
        for number in 0..<100 { queue.put(.inputConsumed(number), of: key, isUrgent: true) }
        #expect(count == 1)
        var batch: [EventQueue.Entry] = []
        queue.take(into: &batch, next: .away)
        #expect(numbers(batch) == Array(0..<100))
        queue.put(.started, of: key, isUrgent: false)
        #expect(count == 2, "it went away")
        queue.take(into: &batch, next: .away)
        #expect(batch.count == 1)
    }

    @Test func `a reader that will look soon is called for what is urgent only, and once`() {
        let queue = makeQueue()
        queue.promiseLook()
        queue.put(.started, of: key, isUrgent: false)
        #expect(count == 0)
        for _ in 0..<3 { queue.put(.started, of: key, isUrgent: true) }
        #expect(count == 1)
        var batch: [EventQueue.Entry] = []
        queue.take(into: &batch, next: .due)
        #expect(batch.count == 4)
        queue.put(.started, of: key, isUrgent: false)
        #expect(count == 1, "it is due again")
    }

    @Test func `a promise does not take a call back`() {
        let queue = makeQueue()
        queue.put(.started, of: key, isUrgent: false)
        queue.promiseLook()
        queue.put(.started, of: key, isUrgent: true)
        #expect(count == 1)
    }

    @Test func `a reader that looks all the time is never called`() {
        let queue = makeQueue()
        var batch: [EventQueue.Entry] = []
        queue.take(into: &batch, next: .coming)
        queue.put(.started, of: key, isUrgent: true)
        #expect(count == 0)
    }

    @Test func `room for a flood is given back`() {
        let queue = makeQueue()
        var batch: [EventQueue.Entry] = []
        for _ in 0..<(2 * EventQueue.keptEntries) { queue.put(.started, of: key, isUrgent: false) }
        queue.take(into: &batch, next: .away)
        #expect(batch.count == 2 * EventQueue.keptEntries)
        queue.take(into: &batch, next: .away)
        queue.take(into: &batch, next: .away)
        #expect(batch.isEmpty && batch.capacity <= EventQueue.keptEntries)
    }

    @Test func `what many threads tell arrives, each thread's in its order`() {
        let queue = makeQueue()
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            for number in 0..<1000 { queue.put(.inputConsumed(number), of: JobKey(UInt64(thread)), isUrgent: true) }
        }
        var batch: [EventQueue.Entry] = []
        queue.take(into: &batch, next: .away)
        for thread in 0..<4 {
            #expect(numbers(batch.filter { $0.key == JobKey(UInt64(thread)) }) == Array(0..<1000))
        }
    }
}
