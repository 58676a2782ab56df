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
        MemoryCallRows.rows + FileCallRows.rows + TimeCallRows.rows + IdentityCallRows.rows + RefusedCallRows.rows
}
