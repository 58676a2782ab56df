// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import Testing

@testable import LinuxPersonality

@Suite struct NumberTests {
    @Test func `errors have the numbers of the C library's header`() {
        let known: [(Errno, Int32)] = [
            (.eperm, EPERM), (.enoent, ENOENT), (.efault, EFAULT), (.enosys, ENOSYS), (.eloop, ELOOP),
            (.enotempty, ENOTEMPTY), (.etimedout, ETIMEDOUT), (.eopnotsupp, EOPNOTSUPP), (.enametoolong, ENAMETOOLONG),
        ]
        for (error, number) in known { #expect(Int32(error.rawValue) == number) }
        #expect(Errno.enoent.name == "ENOENT")
        #expect(Errno.enoent.returnValue == UInt64(bitPattern: -2))
    }

    @Test func `calls have the kernel's numbers and names`() {
        #expect(SystemCall(rawValue: 257) == .openat)
        #expect(SystemCall(rawValue: 435)?.name == "clone3")
        #expect(SystemCall.rtSigaction.name == "rt_sigaction")
        #expect(Set(SystemCall.allCases.map(\.name)).count == SystemCall.allCases.count)
    }

    @Test func `the table names each call once, and every call that is served`() throws {
        let named = SystemCallTable.rows.flatMap(\.calls)
        #expect(Set(named).count == named.count)
        for call in SystemCall.allCases {
            var caller = try Caller()
            let value = try caller.raw(call, [])
            #expect(value == -38 || named.contains(call), "\(call.name) is served and no row says so")
            #expect(value != -38 || !named.contains(call) || isRefused(call), "\(call.name) is not served")
        }
    }

    /// Whether its row says `ENOSYS` first.
    private func isRefused(_ call: SystemCall) -> Bool {
        SystemCallTable.rows.contains { $0.calls.contains(call) && $0.refused.hasPrefix("ENOSYS") }
    }
}
