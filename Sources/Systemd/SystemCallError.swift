// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc

/// A call to libsystemd or the kernel that failed.
public struct SystemCallError: Error, Hashable, CustomStringConvertible {
    /// The function that was called.
    public let call: String
    /// Its error number, positive.
    public let code: CInt

    /// "`sd_notify`: No such file or directory (error 2)".
    public var description: String {
        // SAFETY: `strerror` returns a zero-terminated string that stays valid until this thread's next call; it is
        // copied at once.
        let text = unsafe String(cString: strerror(code))
        return "\(call): \(text) (error \(code))"
    }

    init(call: String, code: CInt) {
        self.call = call
        self.code = code
    }

    /// Turns libsystemd's "negative error number" into a thrown error and passes everything else through.
    static func check(_ result: CInt, _ call: String) throws(SystemCallError) -> CInt {
        guard result < 0 else { return result }
        throw SystemCallError(call: call, code: 0 &- result)
    }
}
