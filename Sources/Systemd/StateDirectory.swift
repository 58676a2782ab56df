// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc

/// Where a service keeps what outlives it: `StateDirectory=`.
public enum StateDirectory {
    /// The directory that the service manager made for this service, the first where there are several; nil where it made none.
    public static var assigned: String? {
        // SAFETY: `getenv` returns a zero-terminated string or nil; it is copied at once. Nothing here changes the environment once
        // threads run.
        guard let value = unsafe getenv("STATE_DIRECTORY").map({ unsafe String(cString: $0) }) else { return nil }
        return first(of: value)
    }

    /// The first of several paths with colons between.
    static func first(of value: String) -> String? { value.split(separator: ":").first.map(String.init) }
}
