// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CSandbox
internal import Glibc

/// A ``SystemCallPolicy`` as the kernel takes it: seccomp(2) by libseccomp.
///
/// SAFETY: `filter` is a filter of libseccomp's from `init` to `deinit`.
@safe final class SystemCallFilter {
    private let filter: UnsafeMutableRawPointer

    /// Calls that this system's libseccomp has no name for are left out; they get the policy's answer for the rest.
    init(_ policy: SystemCallPolicy) throws(SandboxError) {
        var made: UnsafeMutableRawPointer?
        let (answer, code) = policy.rest.inC
        // SAFETY: the call stores one pointer, to what `deinit` releases.
        try SandboxError.check(unsafe csandbox_filter_begin(&made, answer, code), "seccomp_init")
        guard let made = unsafe made else { throw SandboxError(step: "seccomp_init", code: ENOMEM) }
        unsafe filter = made
        for group in policy.groups {
            for rule in group.rules { try add(rule, group.answer) }
        }
    }

    deinit { unsafe csandbox_filter_release(filter) }

    private func add(_ rule: SystemCallPolicy.Rule, _ answer: SystemCallPolicy.Answer) throws(SandboxError) {
        let (answer, code) = answer.inC
        let conditions = rule.conditions.map(\.inC)
        // SAFETY: the name is a zero-terminated copy, and the conditions are as many as the count says, both during the call.
        let result = unsafe csandbox_filter_add(filter, answer, code, rule.call, conditions, UInt32(conditions.count))
        guard result != -ENOENT else { return }
        try SandboxError.check(result, "seccomp_rule_add \(rule.call)")
    }

    /// Puts all threads of the process under it, for good.
    func load() throws(SandboxError) {
        // SAFETY: the filter is whole, and lives until the end of this call.
        try SandboxError.check(unsafe csandbox_filter_load(filter), "seccomp_load")
    }

    /// Writes it as BPF.
    func write(to descriptor: CInt) throws(SandboxError) {
        // SAFETY: as above.
        try SandboxError.check(unsafe csandbox_filter_write(filter, descriptor), "seccomp_export_bpf")
    }
}

extension SystemCallPolicy.Answer {
    fileprivate var inC: (csandbox_answer, CInt) {
        switch self {
        case .allow: (CSANDBOX_ALLOW, 0)
        case .fail(let errno): (CSANDBOX_FAIL, errno)
        case .kill: (CSANDBOX_KILL, 0)
        }
    }
}

extension SystemCallPolicy.Condition {
    fileprivate var inC: csandbox_condition {
        switch self {
        case .number(let argument, let value): Self.masked(argument, 0xFFFF_FFFF, UInt64(value))
        case .isZero(let argument): Self.masked(argument, .max, 0)
        case .lacks(let argument, let bits): Self.masked(argument, bits, 0)
        case .has(let argument, let bit): Self.masked(argument, bit, bit)
        case .isNot(let argument, let value):
            csandbox_condition(argument: argument, comparison: CSANDBOX_NOT_EQUAL, mask: 0, value: value)
        }
    }

    private static func masked(_ argument: UInt32, _ mask: UInt64, _ value: UInt64) -> csandbox_condition {
        csandbox_condition(argument: argument, comparison: CSANDBOX_MASKED_EQUAL, mask: mask, value: value)
    }
}
