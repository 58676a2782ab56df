// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What the command line says.
enum Command: Sendable {
    /// Be a daemon, or with `checks` only say as what.
    case run(CommandLineSettings, checks: Bool)
    /// Print this text and leave.
    case print(String)
}

/// What the command line says about settings.
struct CommandLineSettings: Sendable {
    /// The settings file that it names.
    var path: String?
    /// By key.
    var values: [String: OptionRule.Assignment] = [:]
}

/// Reads the command line. ArgumentParser would bring Foundation, which the worker's sandbox does not suit.
enum CommandLineParser {
    /// The command for these arguments, the program's name not among them.
    static func parse(_ arguments: [String]) throws(Failure) -> Command {
        var settings = CommandLineSettings()
        var checks = false
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            switch argument {
            case "--help", "-h": return .print(HelpText.whole)
            case "--help-json": return .print(HelpJSON.whole)
            case "--version": return .print(Software.nameAndVersion)
            case "--print-default-config": return .print(SettingsFile.template)
            case "--check-config": checks = true
            default: try take(argument, &rest, into: &settings)
            }
        }
        return .run(settings, checks: checks)
    }

    /// Takes "--name=value" or "--name value".
    private static func take(
        _ argument: String, _ rest: inout ArraySlice<String>, into settings: inout CommandLineSettings
    ) throws(Failure) {
        let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let name = parts.first ?? ""
        let rule = OptionRule.all.first { $0.name == name }
        guard let wanted = name == "--config" ? ValueForm.path.wanted : rule?.wanted else { throw unknown(argument) }
        guard let value = parts.count == 2 ? parts[1] : rest.popFirst() else {
            throw wrong("\(name) needs a value: \(wanted)")
        }
        let isFirst = rule.map { settings.values[$0.key] == nil } ?? (settings.path == nil)
        guard isFirst else { throw wrong("\(name) is given twice") }
        do throws(Unfit) {
            if let rule {
                settings.values[rule.key] = try rule.read(value)
            } else {
                settings.path = try ValueForm.path.read(value)
            }
        } catch {
            throw wrong("\(name) takes \(wanted), not \"\(error.text)\"")
        }
    }

    private static func unknown(_ argument: String) -> Failure {
        argument.hasPrefix("-")
            ? wrong("there is no option \(argument)") : wrong("\"\(argument)\": kvmjobd takes options only")
    }

    private static func wrong(_ message: String) -> Failure {
        Failure(status: .usage, message: message + " (kvmjobd --help lists the options)")
    }
}
