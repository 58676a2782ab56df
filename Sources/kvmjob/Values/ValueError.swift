// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Why a value on the command line is not what its option takes.
struct ValueError: Error, Hashable, CustomStringConvertible {
    /// What was wrong and what would be right, in one sentence.
    var description: String

    init(_ description: String) { self.description = description }
}
