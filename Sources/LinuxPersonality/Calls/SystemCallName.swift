// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The names of Linux's system calls on x86-64, for people.
public enum SystemCallName {
    /// Such as "ptrace" for 101; nil for a number that Linux has no call for.
    public static func of(_ number: UInt32) -> String? { SystemCall(rawValue: UInt64(number))?.name }
}
