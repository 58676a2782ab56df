// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A file or directory of this machine for the guest: `--file GUEST=HOST`, or `--file HOST` for the same path in the guest.
struct FileItem: Sendable, Hashable {
    /// Where it is in the guest; nil where it is on this machine.
    var guest: String?
    var host: String

    init(guest: String?, host: String) { (self.guest, self.host) = (guest, host) }

    /// Reads `GUEST=HOST` or `HOST`. The first equals sign divides; a GUEST that does not begin with a slash is from the root.
    init(argument: String) throws(ValueError) {
        guard let equals = argument.firstIndex(of: "=") else {
            (guest, host) = (nil, argument)
            guard !argument.isEmpty else { throw ValueError("there is no path: write GUEST=HOST, or HOST alone") }
            return
        }
        (guest, host) = (String(argument[..<equals]), String(argument[argument.index(after: equals)...]))
        guard guest != "", !host.isEmpty else {
            throw ValueError("\"\(argument)\" lacks one of its paths: write GUEST=HOST, or HOST alone")
        }
        guard !argument.utf8.contains(0) else { throw ValueError("a path has no NUL in it") }
        guard !HostFile.names(guest ?? "").isEmpty else {
            throw ValueError("\"\(argument)\" puts something in the place of the root: use --root for that")
        }
    }

    func add(to tree: inout GuestTree) throws(CommandFailure) {
        if let guest {
            try tree.put(host, at: GuestPath(guest), in: .items)
        } else {
            try tree.bring(host, in: .items)
        }
    }
}
