// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobTransport

extension Tenant {
    /// The user whom an argument means by number, by a name on this machine, or as `unnamed`.
    init(argument: String) throws(ValueError) {
        if argument == "unnamed" {
            self = .unnamed
        } else if let number = UInt32(argument) ?? UserAccount.number(of: argument) {
            self = .user(number)
        } else {
            throw ValueError("\"\(argument)\" is no user of this machine: write a name, a number, or unnamed")
        }
    }
}
