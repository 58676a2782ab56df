// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation
internal import Glibc

/// The process's standard output, for what was asked for, and its standard error, for what is said about it.
struct Console: Sendable {
    let output: ByteSink
    let messages: ByteSink
    /// Whether both end up before the same pair of eyes.
    let isTerminal: Bool

    static let standard = Console(
        output: ByteSink(.standardOutput, name: "output"), messages: ByteSink(.standardError, name: "messages"),
        isTerminal: isatty(STDOUT_FILENO) == 1 && isatty(STDERR_FILENO) == 1)

    /// Lines for people. Where nobody reads them any more, nothing is lost.
    func say(_ lines: String...) async {
        try? await messages.write(Array(lines.map { $0 + "\n" }.joined().utf8))
    }
}
