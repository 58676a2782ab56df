// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a guest can expect of some calls: a row of the documentation.
struct CallRow: Sendable {
    var calls: [SystemCall]
    /// What they do, as far as that is not all that Linux does.
    var supported: String
    /// What they refuse that Linux might not, and with which error.
    var refused: String
}

/// All calls that are served, and those that are refused on purpose. The list is closed: any other call is `ENOSYS`.
enum SystemCallTable {
    static let rows =
        MemoryCallRows.rows + FileCallRows.rows + IdentityCallRows.rows + ThreadCallRows.rows + SignalCallRows.rows
        + LimitCallRows.rows

    /// Whether programs ask for a call only to find out that it is not there. One that would have been a process is missed.
    static func isExpectedToBeRefused(_ call: SystemCall) -> Bool {
        call != .fork && call != .vfork && rows.contains { $0.refused == "ENOSYS" && $0.calls.contains(call) }
    }
}
