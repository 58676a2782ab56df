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
}
