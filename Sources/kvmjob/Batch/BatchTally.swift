// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What a batch has come to so far.
struct BatchTally: Sendable {
    private(set) var jobs = 0
    /// Results by the names of their outcomes.
    private(set) var outcomes: [String: Int] = [:]
    private var status = ExitStatus(isOnlyJob: false)

    mutating func add(_ result: BatchResult) {
        jobs += 1
        outcomes[result.outcome, default: 0] += 1
        status.add(result.end)
    }

    /// As of `kvmjob submit` with several jobs.
    var exitStatus: Int32 { status.code }
}
