// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What somebody at a terminal may not have thought of whose program has failed: its guest has only the files that were brought.
struct ProgramHint {
    /// The program as the user wrote it, and its arguments.
    let words: [String]
    /// Whether the guest's files are a root of their own.
    let hasRoot: Bool

    /// What a shell ends with that finds no program.
    private static let notFound: UInt32 = 127

    /// A line, or nil where there is nothing to say.
    func line(_ end: JobEnd) -> String? {
        guard !hasRoot, case .ended(let result) = end, case .exited(let code) = result.outcome, code != 0,
            let program = words.first?.split(separator: "/").last.map(String.init)
        else { return nil }
        if Self.isPython(program) {
            let script = words.dropFirst().first { !$0.hasPrefix("-") }
            return
                "kvmjob: \(program) came without its library: kvmjob python \(script.map(ShellWord.quoted) ?? "FILE") brings it along"
        }
        guard code == Self.notFound else { return nil }
        return
            "kvmjob: the guest has no programs but those that were brought: --file /bin/ls brings ls, --root DIR a whole tree"
    }

    private static func isPython(_ name: String) -> Bool {
        name.hasPrefix("python") && name.dropFirst("python".count).allSatisfy { $0.isNumber || $0 == "." }
    }
}
