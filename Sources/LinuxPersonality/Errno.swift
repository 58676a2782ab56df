// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Why a system call failed, by the names and numbers of `errno.h`; the guest finds the negated number in RAX.
enum Errno: UInt16, Error, Sendable, CaseIterable {
    case eperm = 1
    case enoent = 2
    case esrch = 3
    case eintr = 4
    case eio = 5
    case enxio = 6
    case e2big = 7
    case enoexec = 8
    case ebadf = 9
    case echild = 10
    case eagain = 11
    case enomem = 12
    case eacces = 13
    case efault = 14
    case ebusy = 16
    case eexist = 17
    case exdev = 18
    case enodev = 19
    case enotdir = 20
    case eisdir = 21
    case einval = 22
    case enfile = 23
    case emfile = 24
    case enotty = 25
    case etxtbsy = 26
    case efbig = 27
    case enospc = 28
    case espipe = 29
    case erofs = 30
    case emlink = 31
    case epipe = 32
    case edom = 33
    case erange = 34
    case edeadlk = 35
    case enametoolong = 36
    case enosys = 38
    case enotempty = 39
    case eloop = 40
    case enodata = 61
    case eoverflow = 75
    case enotsock = 88
    case emsgsize = 90
    case enoprotoopt = 92
    case eprotonosupport = 93
    case esocktnosupport = 94
    case eopnotsupp = 95
    case eafnosupport = 97
    case econnreset = 104
    case eisconn = 106
    case etimedout = 110

    /// The name in `errno.h`, such as ENOENT.
    var name: String { "\(self)".uppercased() }

    /// What the guest finds in RAX.
    var returnValue: UInt64 { UInt64(bitPattern: -Int64(rawValue)) }
}
