// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What `kvmjob submit` ends with.
///
/// | status | when |
/// |---|---|
/// | 0 | every job halted or exited with code 0 |
/// | low 8 bits of the code | one job, which exited |
/// | 1 | a job faulted, was cancelled by its client or could not be emulated; of several jobs also: one exited with another code than 0 |
/// | 124 | a budget or a deadline ended a job |
/// | 125 | a fault of kvmjob or of the host: no connection, `host-error` |
/// | 126 | an image could not be read, or the worker refused it |
///
/// Of `kvmjob snapshot`, 0 is for a snapshot that was taken, and 1 also for a guest that ended before.
///
/// Of several jobs the worst counts: 125 over 126 over 124 over 1 over 0. The statuses 124 to 126 are those of `timeout(1)`
/// and `env(1)`; a guest can exit with them too, and `--json` tells the difference.
struct ExitStatus {
    static let failed: Int32 = 1
    /// Wrong usage, as the parser of command lines has it: EX_USAGE.
    static let usage: Int32 = 64
    static let budgetReached: Int32 = 124
    static let broken: Int32 = 125
    static let cannotRun: Int32 = 126
    /// There is no such program, as shells say it.
    static let notFound: Int32 = 127

    private static let fromBestToWorst = [0, failed, budgetReached, cannotRun, broken]

    /// The status for the jobs so far.
    private(set) var code: Int32 = 0
    private let isOnlyJob: Bool
    private let takesSnapshot: Bool

    /// - Parameter takesSnapshot: whether the jobs were to end as snapshots.
    init(isOnlyJob: Bool, takesSnapshot: Bool = false) {
        (self.isOnlyJob, self.takesSnapshot) = (isOnlyJob, takesSnapshot)
    }

    /// Takes one more job into account, in any order.
    mutating func add(_ end: JobEnd) {
        if takesSnapshot, Self.status(of: end) == 0, !end.isSnapshot {
            code = Self.worse(code, Self.failed)
        } else if isOnlyJob, !takesSnapshot, case .ended(let result) = end, case .exited(let code) = result.outcome {
            self.code = Int32(code & 255)
        } else {
            code = Self.worse(code, Self.status(of: end))
        }
    }

    /// The one of two statuses that counts.
    static func worse(_ one: Int32, _ other: Int32) -> Int32 { rank(one) < rank(other) ? other : one }

    private static func rank(_ code: Int32) -> Int { fromBestToWorst.firstIndex(of: code) ?? 0 }

    /// What a job counts as that is one of several.
    static func status(of end: JobEnd) -> Int32 {
        switch end {
        case .ended(let result): status(of: result.outcome)
        case .refused: cannotRun
        case .lost: broken
        }
    }

    private static func status(of outcome: Outcome) -> Int32 {
        switch outcome {
        case .halted, .snapshotTaken: 0
        case .exited(let code): code == 0 ? 0 : failed
        case .cancelled(by: .drain): broken
        case .faulted, .tripleFault, .unemulatable, .cancelled: failed
        case .exhausted, .waitExpired: budgetReached
        case .hostError: broken
        }
    }
}

extension JobEnd {
    fileprivate var isSnapshot: Bool {
        guard case .ended(let result) = self, case .snapshotTaken = result.outcome else { return false }
        return true
    }
}
