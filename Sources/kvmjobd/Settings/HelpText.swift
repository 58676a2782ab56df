// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What `--help` prints.
enum HelpText {
    static var whole: String {
        """
        Usage: kvmjobd [OPTION...]

        Runs guest images that clients send over a Unix socket, each in a VM of its own.
        systemd starts it on the first connection (kvmjobd.socket), or it listens by itself:

          kvmjobd --socket /run/user/1000/kvmjobd.sock

        Each option but the last ones is also a key of the settings file, without its dashes.
        A SIZE is written like 64MiB, a TIME like 500ms, 45s or 10m.

        \(sections.joined(separator: "\n\n"))

        SIGTERM or SIGINT drains: no new jobs, every accepted one gets its result. A second
        SIGTERM or SIGINT leaves at once.

        Exit status:
        \(statuses.joined(separator: "\n"))
        """
    }

    /// The most columns of a line.
    private static let width = 88

    private static var sections: [String] {
        let options = OptionRule.sections.map { section in
            entries(
                section.title,
                section.rules.map { ("\($0.name) \($0.placeholder)", "\($0.help) (default: \($0.usual))") })
        }
        return options + [entries("Settings file and help", Switch.all.map { ($0.usage, $0.help) })]
    }

    private static func entries(_ title: String, _ entries: [(usage: String, help: String)]) -> String {
        let lines = entries.flatMap { ["  " + $0.usage] + wrapped($0.help, indent: "        ") }
        return ([title + ":"] + lines).joined(separator: "\n")
    }

    private static var statuses: [String] {
        ExitStatus.allCases.map { status in
            let number = String(status.rawValue)
            return "  " + number + String(repeating: " ", count: 5 - number.count) + status.meaning
        }
    }

    /// Lines of at most ``width`` columns, each with the indentation.
    static func wrapped(_ text: String, indent: String) -> [String] {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, indent.count + line.count + 1 + word.count > width {
                lines.append(indent + line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        return lines + [indent + line]
    }
}

/// What `--help-json` prints, for whoever makes the manual page: everything of ``HelpText`` that is a table.
enum HelpJSON {
    static var whole: String {
        object([
            ("version", QuotedText.of(Software.version)), ("sections", array(OptionRule.sections.map(section))),
            (
                "switches",
                array(
                    Switch.all.map { object([("usage", QuotedText.of($0.usage)), ("help", QuotedText.of($0.help))]) })
            ),
            (
                "statuses",
                array(
                    ExitStatus.allCases.map {
                        object([("status", "\($0.rawValue)"), ("meaning", QuotedText.of($0.meaning))])
                    })
            ),
        ])
    }

    private static func section(_ section: OptionSection) -> String {
        object([("title", QuotedText.of(section.title)), ("options", array(section.rules.map(option)))])
    }

    private static func option(_ rule: OptionRule) -> String {
        let texts = [
            ("key", rule.key), ("placeholder", rule.placeholder), ("help", rule.help), ("default", rule.usual),
            ("wanted", rule.wanted), ("type", rule.fileType.rawValue), ("example", rule.fileType.literal(rule.example)),
        ]
        return object(texts.map { ($0.0, QuotedText.of($0.1)) })
    }

    private static func object(_ members: [(String, String)]) -> String {
        "{" + members.map { QuotedText.of($0.0) + ": " + $0.1 }.joined(separator: ", ") + "}"
    }

    private static func array(_ elements: [String]) -> String { "[" + elements.joined(separator: ",\n") + "]" }
}
