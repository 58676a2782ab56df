// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux

/// Names of users, for what ``PeerCredentials`` has numbers of.
public enum UserDatabase {
    /// The number of a user of this machine, or nil where there is none of this name, or where the databases do not answer.
    ///
    /// Blocks the thread for as long as they take. `getpwnam_r`.
    public static func number(ofUser name: String) -> UInt32? {
        // SAFETY: the string is lent for the call.
        UInt32(exactly: unsafe clinux_user_number(name))
    }
}
