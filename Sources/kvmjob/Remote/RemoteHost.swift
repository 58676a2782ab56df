// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A worker on another machine, as `ssh://[user@]machine[:port][/socket-path]` names it.
///
/// Names that ssh could take for an option, or a shell for more than a name, are none: they may come from somebody else's file.
struct RemoteHost: Hashable, Sendable {
    /// nil is the one that ssh's configuration or this user's name says.
    var user: String?
    /// A name, an address, or a `Host` of ssh's configuration; of an IPv6 address without its brackets.
    var machine: String
    /// nil is the one that ssh's configuration says, or 22.
    var port: UInt16?
    /// Where the worker's socket is there; nil for that machine's own default.
    var socketPath: String?

    /// The environment variable that names one.
    static let environmentName = "KVMJOB_HOST"
    private static let scheme = "ssh://"
    /// How long ssh tries to make the connection, before anybody is asked for a password: 30 s.
    static let connectSeconds = 30

    /// What an option or a variable says.
    init(_ text: String) throws(ValueError) {
        guard text.hasPrefix(Self.scheme) else { throw Self.wrong(text, "write ssh://[user@]machine[:port][/socket]") }
        let rest = text.dropFirst(Self.scheme.count)
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        var place = rest[..<slash]
        if let at = place.lastIndex(of: "@") {
            user = try Self.user(place[..<at], in: text)
            place = place[place.index(after: at)...]
        }
        (machine, port) = try Self.machineAndPort(place, in: text)
        let path = rest[slash...]
        guard !path.contains(where: { "%?#".contains($0) || $0.isNewline || $0 == "\0" }) else {
            throw Self.wrong(text, "a socket's path is written as it is, and has no %, ? or # in it")
        }
        socketPath = path.count > 1 ? String(path) : nil
    }

    private static func user(_ name: Substring, in text: String) throws(ValueError) -> String {
        guard !name.contains(":") else { throw wrong(text, "ssh asks for passwords; they do not stand here") }
        guard isName(name, with: "._-+@") else {
            throw wrong(text, "a user's name has letters, digits and ._-+ and begins with no hyphen")
        }
        return String(name)
    }

    private static func machineAndPort(_ place: Substring, in text: String) throws(ValueError) -> (String, UInt16?) {
        var (machine, port) = (place, Substring?.none)
        if place.hasPrefix("["), let end = place.firstIndex(of: "]") {
            machine = place[place.index(after: place.startIndex)..<end]
            let rest = place[place.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":"), isName(machine, with: ":.%-") else {
                throw wrong(text, "an IPv6 address stands in brackets, and a port behind a colon")
            }
            port = rest.isEmpty ? nil : rest.dropFirst()
        } else {
            if let colon = place.firstIndex(of: ":") {
                (machine, port) = (place[..<colon], place[place.index(after: colon)...])
            }
            guard isName(machine, with: "._-") else {
                throw wrong(text, "a machine's name has letters, digits and ._- and begins with no hyphen")
            }
        }
        guard let port else { return (String(machine), nil) }
        guard let number = UInt16(port), number > 0, port.allSatisfy(\.isASCIIDigit) else {
            throw wrong(text, "a port is a number from 1 to 65535")
        }
        return (String(machine), number)
    }

    private static func isName(_ name: Substring, with others: String) -> Bool {
        !name.isEmpty && !name.hasPrefix("-")
            && name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || others.contains($0)) }
    }

    private static func wrong(_ text: String, _ advice: String) -> ValueError {
        ValueError("\"\(text)\" names no machine: \(advice)")
    }

    // MARK: Text

    /// As it is written.
    var url: String {
        let name = machine.contains(":") ? "[\(machine)]" : machine
        return Self.scheme + (user.map { "\($0)@" } ?? "") + name + (port.map { ":\($0)" } ?? "") + (socketPath ?? "")
    }

    /// Program and arguments that carry a connection there. No terminal there, no agent, display or port of this machine for it, and
    /// nothing of ssh's configuration that would run something else.
    var command: [String] {
        ["ssh", "-T", "-a", "-x", "-o", "ConnectTimeout=\(Self.connectSeconds)", "-o", "ClearAllForwardings=yes"]
            + ["-o", "RemoteCommand=none"]
            + (user.map { ["-l", $0] } ?? []) + (port.map { ["-p", "\($0)"] } ?? []) + ["--", machine, farCommand]
    }

    /// What the login shell there runs.
    private var farCommand: String {
        let words = ["kvmjob", DialCommand.name] + (socketPath.map { ["--socket", ShellWord.inQuotes($0)] } ?? [])
        return words.joined(separator: " ")
    }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { ("0"..."9").contains(self) }
}
