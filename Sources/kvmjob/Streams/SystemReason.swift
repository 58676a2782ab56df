// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// Why the kernel said no, out of what Foundation makes of it.
struct SystemReason: Error, Sendable, Hashable {
    /// The errno, where there is one.
    var code: CInt?
    /// Such as "No such file or directory".
    var text: String

    /// A reason that was found before the kernel was asked.
    init(text: String) { self.text = text }

    /// The reason that an errno names.
    init(errno: CInt) { self.init(NSError(domain: NSPOSIXErrorDomain, code: Int(errno))) }

    init(_ error: any Error) {
        let outer = error as NSError
        let cause = outer.userInfo[NSUnderlyingErrorKey] as? NSError ?? outer
        code = cause.domain == NSPOSIXErrorDomain ? CInt(cause.code) : nil
        text = cause.localizedFailureReason ?? cause.localizedDescription
    }
}
