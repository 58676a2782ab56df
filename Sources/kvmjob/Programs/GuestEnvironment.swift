// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A guest's environment: `--env NAME=VALUE`, and `--env NAME` for the caller's value. What the user's shell has stays outside unless
/// it is named: a job is to be the same whoever submits it.
struct GuestEnvironment: Sendable, Hashable {
    static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    /// What a guest has without being asked.
    static let defaults = [("PATH", defaultPath), ("HOME", "/"), ("LANG", "C.UTF-8")]

    private var names = Self.defaults.map(\.0)
    private(set) var values = Dictionary(uniqueKeysWithValues: Self.defaults)

    /// The defaults alone.
    init() {}

    /// The defaults and what options say, of which the last counts for each name.
    ///
    /// - Parameter caller: the environment that `--env NAME` takes its value from.
    /// - Throws: ``ValueError`` for what is no name, or a name that the caller has no value for.
    init(_ options: [String], caller: [String: String]) throws(ValueError) {
        for option in options {
            let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let name = parts.first, !name.isEmpty, !option.utf8.contains(0) else {
                throw ValueError("\"\(option)\" has no name: write NAME=VALUE, or NAME for the value that it has here")
            }
            guard let value = parts.count == 2 ? parts[1] : caller[name] else {
                throw ValueError("\(name) is not set here: write \(name)=VALUE")
            }
            if values.updateValue(value, forKey: name) == nil { names.append(name) }
        }
    }

    subscript(name: String) -> String? { values[name] }

    /// `NAME=VALUE`, the defaults first and then in the order of the options.
    var entries: [String] { names.map { "\($0)=\(values[$0] ?? "")" } }
}
