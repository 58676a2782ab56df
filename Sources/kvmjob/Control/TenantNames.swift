// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel
internal import JobTransport

/// What users are called. Of a worker on another machine, only their numbers are known here.
struct TenantNames: Sendable {
    /// A user's name; nil for one who has none.
    let name: @Sendable (UInt32) -> String?

    /// This machine's own users, if the worker is on it.
    init(for choice: WorkerChoice) {
        if case .remote = choice { self.init { _ in nil } } else { self.init(name: UserAccount.name(of:)) }
    }

    init(name: @escaping @Sendable (UInt32) -> String?) { self.name = name }

    /// For people: a name, else a number.
    func text(_ tenant: Tenant) -> String {
        switch tenant {
        case .user(let number): name(number) ?? String(number)
        case .unnamed: "unnamed"
        }
    }

    /// `user` and `user_name` of a JSON object: the number and the name, each null where there is none.
    func members(_ tenant: Tenant) -> JSONReport.Members {
        guard case .user(let number) = tenant else { return [("user", .null), ("user_name", .null)] }
        return [("user", .count(number)), ("user_name", .text(name(number)))]
    }
}
