// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import Testing

@testable import JobProtocol

@Suite struct BudgetRefusalTests {
    private func refusal(_ budget: Budget) -> Refusal? {
        let terms = WorkerTerms(wallMaximum: .seconds(60), slots: 1, modes: [], software: "test")
        return terms.refusal(of: Submit(JobSpec(budget: budget), imageBytes: 1))
    }

    @Test(arguments: [
        (Budget(steps: 0), "a step budget is at least 1"),
        (Budget(wallTime: .zero), "a wall-time budget is at least 1 ns"),
        (Budget(cpuTime: .zero), "a CPU-time budget is at least 1 ns"),
        (Budget(exits: 0), "an exit budget is at least 1"),
        (Budget(outputBytes: 0), "an output budget is at least 1 byte"),
        (Budget(touchedBytes: 0), "a memory budget is at least 1 byte"),
    ])
    func `a budget of nothing is refused by name`(budget: Budget, message: String) {
        #expect(refusal(budget) == Refusal(.budgetRange, message, limit: 1, value: 0))
    }

    @Test func `the least of every budget is taken, and so is the most`() {
        let least = Budget(
            steps: 1, wallTime: .nanoseconds(1), cpuTime: .nanoseconds(1), exits: 1, outputBytes: 1, touchedBytes: 1)
        #expect(refusal(least) == nil)
        let most = Budget(
            steps: .max, wallTime: .seconds(60), cpuTime: .nanoseconds(Int64.max), exits: .max, outputBytes: .max,
            touchedBytes: .max)
        #expect(refusal(most) == nil)
        #expect(refusal(Budget(wallTime: .seconds(60) + .nanoseconds(1)))?.rule == .budgetRange)
    }
}
