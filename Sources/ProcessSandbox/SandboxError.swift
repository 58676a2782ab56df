// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Glibc

/// A part of the sandbox that this system does not give.
public struct SandboxError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What was asked for: a function of a library or a call of the kernel.
    public let step: String
    /// Its error number, positive.
    public let code: Int32

    /// "`seccomp_load`: Operation not permitted (error 1)".
    public var description: String {
        // SAFETY: `strerror` returns a zero-terminated string that stays valid until this thread's next call; it is copied at
        // once.
        let text = unsafe String(cString: strerror(code))
        return "\(step): \(text) (error \(code))"
    }

    /// Turns "negative error number" into a thrown error and passes everything else through.
    @discardableResult
    static func check(_ result: Int32, _ step: String) throws(SandboxError) -> Int32 {
        guard result < 0 else { return result }
        throw SandboxError(step: step, code: 0 &- result)
    }
}
