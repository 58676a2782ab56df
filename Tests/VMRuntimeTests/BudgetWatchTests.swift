// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVM
import Testing

@testable import VMRuntime

@Suite struct BudgetWatchTests {
    private static let hour: UInt64 = 3_600_000_000_000

    @Test func `the clocks stand still while they are stopped, and the deadline moves on`() throws {
        var watch = BudgetWatch(Budget(wallTime: .seconds(3600)))
        watch.start()
        let first = watch.deadline
        watch.stop()
        let time = watch.time
        let stopped = MonotonicClock.now
        while MonotonicClock.now < stopped + 2_000_000 {}
        #expect(watch.time.wall == time.wall && watch.time.processor == time.processor)
        watch.start()
        #expect(watch.deadline >= first + 2_000_000)
        #expect(watch.wallTimeExhausted(at: watch.deadline - 1) == nil)
        let outcome = try #require(watch.wallTimeExhausted(at: watch.deadline))
        guard case .exhausted(.wallTime, Self.hour, let used) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(used >= time.wall)
    }

    @Test func `a wall time that is used up stays so over a stop`() {
        var watch = BudgetWatch(Budget(wallTime: .nanoseconds(1)))
        watch.start()
        watch.stop()
        watch.start()
        #expect(watch.wallTimeExhausted(at: MonotonicClock.now) != nil)
    }

    @Test func `records are taken whole, console bytes as far as there is room`() {
        var watch = BudgetWatch(Budget(outputBytes: 10))
        #expect(watch.takeOutput(3, isDivisible: true) == 3)
        #expect(watch.takeOutput(8, isDivisible: false) == 0)
        #expect(watch.outputExhausted == .exhausted(.output, limit: 10, used: 3))
        #expect(watch.takeOutput(8, isDivisible: true) == 7)
        #expect(watch.takeOutput(1, isDivisible: true) == 0)
        #expect(watch.outputExhausted == .exhausted(.output, limit: 10, used: 10))
    }

    @Test(arguments: [
        Outcome.halted, .exited(code: 1), .tripleFault, .unemulatable(Unemulatable(rip: nil, bytes: [])),
        .faulted(Fault(vector: 0, errorCode: nil, address: nil, rip: 0)),
    ])
    func `an end of the guest's own does not hide what it used`(end: Outcome) {
        let watch = BudgetWatch(Budget(wallTime: .nanoseconds(1), cpuTime: .nanoseconds(10), touchedBytes: 4096))
        let judge = { (processor: UInt64, touched: UInt64) in
            watch.outcome(of: end, after: .init(wall: 1000, processor: processor), touching: touched)
        }
        #expect(judge(9, 4096) == end)
        #expect(judge(10, 4096) == .exhausted(.cpuTime, limit: 10, used: 10))
        #expect(judge(9, 8192) == .exhausted(.memory, limit: 4096, used: 8192))
        #expect(judge(11, 8192) == .exhausted(.cpuTime, limit: 10, used: 11))
    }

    @Test(arguments: [
        Outcome.exhausted(.steps, limit: 1, used: 1), .cancelled(by: .client), .hostError("no memory"),
    ])
    func `an end that was brought about from outside stays what it is`(end: Outcome) {
        let watch = BudgetWatch(Budget(cpuTime: .nanoseconds(10), touchedBytes: 4096))
        #expect(watch.outcome(of: end, after: .init(wall: 1000, processor: 1000), touching: 8192) == end)
    }
}
