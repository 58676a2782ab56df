// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobTransport

/// The settings in force, and where each comes from: the command line, the settings file, or neither.
struct Settings: Sendable {
    /// Where a setting comes from.
    enum Origin: Sendable, Hashable {
        case commandLine
        case file(path: String, line: Int)
    }

    private(set) var options = Options()
    /// By key; what is not in it has its default.
    private(set) var origins: [String: Origin] = [:]

    /// What the command line and the file that it means say together.
    init(_ commandLine: CommandLineSettings) throws(SettingsFile.Mistakes) {
        let isThere = commandLine.path != nil || UnixSocket.exists(path: SettingsFile.usualPath)
        let file = isThere ? try SettingsFile(path: commandLine.path ?? SettingsFile.usualPath) : nil
        self.init(commandLine, file)
    }

    /// What a command line and a file say together.
    init(_ commandLine: CommandLineSettings, _ file: SettingsFile?) {
        for rule in OptionRule.all {
            if let assignment = commandLine.values[rule.key] {
                assignment(&options)
                origins[rule.key] = .commandLine
            } else if let file, let entry = file.entries[rule.key] {
                entry.assignment(&options)
                origins[rule.key] = .file(path: file.path, line: entry.line)
            }
        }
    }

    /// The settings as a settings file, each with where it comes from: what `--check-config` prints.
    var report: String {
        OptionRule.all.map(line).joined(separator: "\n")
    }

    private func line(_ rule: OptionRule) -> String {
        guard let value = rule.show(options) else { return "# \(rule.key) is not set: \(rule.usual)" }
        let origin =
            switch origins[rule.key] {
            case .commandLine: "command line"
            case .file(let path, let line): "\(path):\(line)"
            case nil: "default"
            }
        return "\(rule.key) = \(rule.fileType.literal(value))  # \(origin)"
    }
}
