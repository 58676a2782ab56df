// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation

/// All goals in one table, each line printed when it is measured.
enum GoalsBenchmark {
    /// - Throws: ``BenchmarkError`` when a goal is missed or could not be measured: so that a script can ask.
    static func run() async throws {
        let goals = slotGoals + socketGoals + memoryGoals + consoleGoals
        print("\ngoals: median (range) of the ratios of each round")
        print(row("", "measured", "goal", "what", ""))
        var (missed, unmeasured) = (0, 0)
        for goal in goals {
            let finding: Goal.Finding
            do { finding = try await goal.measure() } catch { finding = .unmeasured("\(error)") }
            switch finding {
            case .measured(let spread, let rounds):
                let holds = goal.bound.holds(spread.median)
                if !holds { missed += 1 }
                print(row(holds ? "ok" : "MISSED", spread.text(2), goal.bound.text, goal.name, rounds))
            case .unmeasured(let why):
                unmeasured += 1
                print(row("NONE", "NOT MEASURED", goal.bound.text, goal.name, why))
            }
            fflush(nil)
        }
        guard missed + unmeasured > 0 else { return print("all \(goals.count) goals are reached") }
        throw BenchmarkError("of \(goals.count) goals \(missed) are missed and \(unmeasured) were not measured")
    }

    private static func row(_ verdict: String, _ measured: String, _ goal: String, _ name: String, _ note: String)
        -> String
    {
        func pad(_ text: String, _ width: Int) -> String {
            text.padding(toLength: max(width, text.count), withPad: " ", startingAt: 0)
        }
        return "  \(pad(verdict, 7)) \(pad(measured, 18)) \(pad(goal, 8)) \(pad(name, 78)) \(note)"
    }
}
