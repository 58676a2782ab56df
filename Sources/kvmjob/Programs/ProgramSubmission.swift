// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// A Linux program as it is submitted: its files and how it is started.
struct ProgramSubmission: Sendable {
    /// Archives (tar), the lowest first; where two have an entry for one path, that of the later one counts. A layer without
    /// entries is left out. Each is known by its own digest, so that one which the worker has is not sent again.
    var layers: [Image]
    /// The program's absolute path in the guest.
    var program: String
    /// All of `argv`: the program as the user wrote it, and its arguments.
    var arguments: [String]
    /// `NAME=VALUE`, each name once.
    var environment: [String]
    /// What was left out of the files, for people.
    var warnings: [String]
}
