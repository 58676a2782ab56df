// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a guest can expect of some calls: a row of the documentation.
struct CallRow: Sendable {
    var calls: [SystemCall]
    /// What they do, as far as that is not all that Linux does.
    var supported = ""
    /// What they refuse that Linux might not, and with which error.
    var refused = ""
}

/// All calls that are served, and those that are refused on purpose. The list is closed: any other call is `ENOSYS`.
enum SystemCallTable {
    static let rows =
        MemoryCallRows.rows + FileCallRows.rows + SocketCallRows.rows + TimeCallRows.rows + ThreadCallRows.rows
        + SignalCallRows.rows
        + IdentityCallRows.rows + LimitCallRows.rows + RefusedCallRows.rows

    /// Whether programs ask for a call only to find out that it is not there. One that would have been a process is missed.
    static func isExpectedToBeRefused(_ call: SystemCall) -> Bool {
        call != .fork && call != .vfork && rows.contains { $0.refused == "ENOSYS" && $0.calls.contains(call) }
    }
}
