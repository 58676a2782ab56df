// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// How many jobs ended how.
struct OutcomeTally: Sendable {
    private(set) var counts: [String: Int] = [:]
    private(set) var total = 0

    mutating func add(_ group: String) {
        counts[group, default: 0] += 1
        total += 1
    }

    /// What an outcome says about the job, as a colour shows it beside the outcome's name.
    enum Tone: String {
        case good, guest, budget, stopped, host
    }

    static func tone(of group: String) -> Tone {
        switch group {
        case "halted", "exited with 0", "snapshot-taken": .good
        case "cancelled", "wait-expired": .stopped
        case "host-error", "lost", "refused": .host
        case _ where group.hasSuffix("-exhausted"): .budget
        default: .guest
        }
    }

    /// The most frequent first; of equally many, in the order of their names.
    var rows: [(group: String, count: Int)] {
        counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { ($0.key, $0.value) }
    }
}
