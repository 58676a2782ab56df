// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// A refusal for people: what the worker said, which setting stands against it, and when to come back.
struct RefusalText {
    let rejection: Rejection

    /// Such as `this user's queue is full (tenant-queued-jobs is 10000, and this would make it 10001); come back in about 3.2 s`.
    var line: String { (inUnits ?? rejection.message) + setting + advice }

    /// What the worker says in bytes and nanoseconds, where a person is likely to meet it and can do something about it.
    private var inUnits: String? {
        guard let limit = rejection.limit, let value = rejection.value, value > limit else { return nil }
        switch rejection.code {
        case "memory-size" where value.isMultiple(of: 4096):
            return "\(SizeText.describe(value)) of guest memory are more than a job can have there, which is "
                + "\(SizeText.describe(limit)): ask for less with --memory, or its administrator for more"
        case "budget-range":
            return "a wall-time budget of \(DurationText.long(nanoseconds: value)) is above the limit of "
                + "\(DurationText.long(nanoseconds: limit)): ask for less with --wall-time"
        default: return nil
        }
    }

    private var setting: String {
        guard let name = rejection.limitName, let limit = rejection.limit else { return "" }
        let use = rejection.value.map { ", and this would make it \(describe($0, of: name))" } ?? ""
        return " (\(name) is \(describe(limit, of: name))\(use))"
    }

    private var advice: String {
        guard let nanoseconds = rejection.retryNanoseconds else { return "" }
        return "; come back in about \(DurationText.long(nanoseconds: nanoseconds))"
    }

    /// Settings of memory and of what is stored count bytes, all others count things.
    private func describe(_ amount: UInt64, of setting: String) -> String {
        let isSize = ["memory", "bytes-in-flight", "image-cache"].contains {
            setting == $0 || setting.hasSuffix("-\($0)")
        }
        guard isSize else { return String(amount) }
        let isRounded = SizeText.approximate(rejection.limit ?? 0) != SizeText.approximate(rejection.value ?? 0)
        return isRounded ? SizeText.approximate(amount) : SizeText.describe(amount)
    }
}
