// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What a terminal makes of text.
enum Terminal {
    /// A line that stands out.
    static func bold(_ line: String) -> String { "\u{1B}[1m\(line)\u{1B}[0m" }
}
