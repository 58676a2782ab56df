// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Why a command ends before it could do what it was asked for.
struct CommandFailure: Error, Hashable {
    /// What was wrong and what to do about it.
    var message: String
    /// One of ``ExitStatus``.
    var status: Int32
}
