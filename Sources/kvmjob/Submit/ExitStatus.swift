// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What `kvmjob submit` ends with.
///
/// | status | when |
/// |---|---|
/// | 0 | every job halted or exited with code 0 |
/// | low 8 bits of the code | one job, which exited |
/// | 1 | a job faulted, was cancelled or could not be emulated; of several jobs also: one exited with another code than 0 |
/// | 124 | a budget or a deadline ended a job |
/// | 126 | an image could not be read, or the worker refused it |
/// | 125 | a fault of kvmjob or of the host: no connection, `host-error` |
///
/// Of several jobs the worst counts: 125 over 126 over 124 over 1 over 0. The statuses 124 to 126 are those of `timeout(1)`
/// and `env(1)`; a guest can exit with them too, and `--json` tells the difference.
enum ExitStatus {
    static let budgetReached: Int32 = 124
    static let broken: Int32 = 125
    static let cannotRun: Int32 = 126

    private static let fromBestToWorst = [0, 1, budgetReached, cannotRun, broken]

    /// The status for these jobs, in any order.
    static func combining(_ ends: [JobEnd]) -> Int32 {
        if ends.count == 1, case .ended(let result) = ends[0], case .exited(let code) = result.outcome {
            return Int32(code & 255)
        }
        let ranks = ends.compactMap { fromBestToWorst.firstIndex(of: status(of: $0)) }
        return fromBestToWorst[ranks.max() ?? 0]
    }

    private static func status(of end: JobEnd) -> Int32 {
        switch end {
        case .ended(let result): status(of: result.outcome)
        case .refused: cannotRun
        case .lost: broken
        }
    }

    private static func status(of outcome: Outcome) -> Int32 {
        switch outcome {
        case .halted: 0
        case .exited(let code): code == 0 ? 0 : 1
        case .faulted, .tripleFault, .unemulatable, .cancelled: 1
        case .exhausted, .waitExpired: budgetReached
        case .hostError: broken
        }
    }
}
