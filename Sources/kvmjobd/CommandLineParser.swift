// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Reads the command line. ArgumentParser would bring Foundation, which the worker's sandbox does not suit.
enum CommandLineParser {
    /// The command for these arguments, the program's name not among them.
    static func parse(_ arguments: [String]) throws(Failure) -> Command {
        var options = Options()
        var given: Set<String> = []
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            if argument == "--help" || argument == "-h" { return .print(help) }
            if argument == "--version" { return .print(Software.nameAndVersion) }
            // "--name=value" or "--name value"
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = parts.first.map(String.init) ?? ""
            guard let rule = OptionRule.all.first(where: { $0.name == name }) else { throw unknown(argument) }
            guard given.insert(name).inserted else { throw wrong("\(name) is given twice") }
            guard let value = parts.count == 2 ? String(parts[1]) : rest.popFirst() else {
                throw wrong("\(name) needs a value: \(rule.wanted)")
            }
            guard rule.store(value, &options) else { throw wrong("\(name) takes \(rule.wanted), not \"\(value)\"") }
        }
        return .run(options)
    }

    private static func unknown(_ argument: String) -> Failure {
        argument.hasPrefix("-")
            ? wrong("there is no option \(argument)") : wrong("\"\(argument)\": kvmjobd takes options only")
    }

    private static func wrong(_ message: String) -> Failure {
        Failure(status: .usage, message: message + " (kvmjobd --help lists the options)")
    }

    /// What `--help` prints.
    static var help: String {
        """
        Usage: kvmjobd [OPTION...]

        Runs guest images that clients send over a Unix socket, each in a VM of its own.
        systemd starts it on the first connection (kvmjobd.socket), or it listens by itself:

          kvmjobd --socket /run/user/1000/kvmjobd.sock

        Options:
        \(optionLines.joined(separator: "\n"))
          --version
                print name and version
          --help, -h
                print this text

        SIGTERM or SIGINT drains: no new jobs, every accepted one gets its result. A second
        SIGTERM or SIGINT leaves at once.

        Exit status:
          0    drained, idle for long enough, or its one connection is over
          64   wrong option
          69   KVM is missing, not permitted, or cannot do what a worker needs
          71   the system refused something
          78   no socket to serve, or one that does not fit
          130  a second signal came while it drained
        """
    }

    private static var optionLines: [String] {
        OptionRule.all.flatMap { rule in
            ["  \(rule.name) \(rule.value)"] + rule.help.map { "        \($0)" }
        }
    }
}
