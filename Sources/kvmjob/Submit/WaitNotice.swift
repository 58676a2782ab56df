// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What somebody at a terminal is told whose job has to wait.
struct WaitNotice {
    let acceptance: Acceptance

    /// A wait that is not worth a word: below 1 s.
    static let patience: UInt64 = 1_000_000_000

    /// Such as `kvmjob: job 1204 waits for a slot: 12 jobs go before it, about 3.2 s; kvmjob cancel 1204 takes it back`; nil where the job
    /// starts as good as at once.
    var line: String? {
        guard let position = acceptance.queuePosition, position > 0,
            acceptance.waitNanoseconds ?? Self.patience >= Self.patience
        else { return nil }
        let name = acceptance.id.map { "job \($0)" } ?? "the job"
        let time = acceptance.waitNanoseconds.map { ", about \(DurationText.long(nanoseconds: $0))" } ?? ""
        let advice = acceptance.id.map { "; kvmjob cancel \($0) takes it back" } ?? ""
        return
            "kvmjob: \(name) waits for a slot: \(position) job\(position == 1 ? " goes" : "s go") before it\(time)\(advice)"
    }

    /// Tells it, where somebody looks.
    func tell(_ console: Console) async {
        guard console.isTerminal, let line else { return }
        await console.say(line)
    }
}
