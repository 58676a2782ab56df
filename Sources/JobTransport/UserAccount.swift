// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CLinux

/// What this machine calls the users whom the kernel knows by number.
public enum UserAccount {
    /// The most bytes of a name: 256, as many as useradd(8) takes.
    private static let nameLimit = 256

    /// A user's name; nil for one who has none here. May read files and ask servers: `getpwuid_r`.
    public static func name(of user: UInt32) -> String? {
        var name = [CChar](repeating: 0, count: nameLimit + 1)
        // SAFETY: the buffer is lent for the call, with its size.
        let length = unsafe clinux_user_name(user, &name, CInt(name.count))
        guard length > 0 else { return nil }
        return String(decoding: name.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The number of the user with this name; nil if there is none here, or where the databases do not answer. Blocks the thread for
    /// as long as they take: `getpwnam_r`.
    public static func number(of name: String) -> UInt32? {
        // SAFETY: the string is lent for the call.
        let number = unsafe clinux_user_number(name)
        return UInt32(exactly: number)
    }
}
