// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import KVM

extension LinuxProcess {
    /// Serves a system call. What it changes is changed when it returns, and nothing is when it waits.
    ///
    /// - Throws: what the program is told; `ENOSYS` for a call that ``SystemCallTable`` does not have.
    mutating func perform(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd {
        if let end = try performOnTransfers(call, arguments, memory) { return end }
        if let end = try performOnMemory(call, arguments, memory) { return end }
        if let end = try performOnDescriptors(call, arguments, memory) { return end }
        if let end = try performOnNames(call, arguments, memory) { return end }
        if let end = try performOnAttributes(call, arguments, memory) { return end }
        if let end = try performOnReadiness(call, arguments, memory) { return end }
        if let end = try performOnSockets(call, arguments, memory) { return end }
        if let end = try performOnTime(call, arguments, memory) { return end }
        if let end = try performOnThreads(call, arguments, memory) { return end }
        if let end = try performOnSignals(call, arguments, memory) { return end }
        if let end = try performOnIdentity(call, arguments, memory) { return end }
        if let end = try performOnLimits(call, arguments, memory) { return end }
        if let end = try performOnScheduling(call, arguments, memory) { return end }
        if let refusal = RefusedCallRows.errors[call] { throw refusal }
        throw .enosys
    }

    /// Those that programs make most come first.
    private mutating func performOnTransfers(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .read: try read(plain(arguments), memory)
        case .pread64: try read(try placed(arguments), memory)
        case .readv: try read(try scattered(arguments, memory), memory)
        case .preadv: try read(try scatteredAndPlaced(arguments, memory), memory)
        case .preadv2: try read(try scatteredWithFlags(arguments, memory), memory)
        case .write: try write(plain(arguments), memory)
        case .pwrite64: try write(try placed(arguments), memory)
        case .writev: try write(try scattered(arguments, memory), memory)
        case .pwritev: try write(try scatteredAndPlaced(arguments, memory), memory)
        case .pwritev2: try write(try scatteredWithFlags(arguments, memory), memory)
        case .sendfile: try sendfile(arguments, memory)
        case .copyFileRange: try copyFileRange(arguments, memory)
        case .getrandom: try getrandom(arguments, memory)
        default: nil
        }
    }

    private mutating func performOnMemory(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .brk: try brk(arguments, memory)
        case .mmap: try mmap(arguments, memory)
        case .munmap: try munmap(arguments, memory)
        case .mprotect: try mprotect(arguments, memory)
        case .mremap: try mremap(arguments, memory)
        case .madvise: try madvise(arguments, memory)
        case .mincore: try mincore(arguments, memory)
        case .msync: try msync(arguments, memory)
        case .mlock: try mlock(arguments, memory)
        case .mlock2: try mlock2(arguments, memory)
        case .munlock: try munlock(arguments, memory)
        case .mlockall: try mlockall(arguments, memory)
        case .munlockall: try munlockall(arguments, memory)
        default: nil
        }
    }

    private mutating func performOnDescriptors(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .close: try close(arguments, memory)
        case .closeRange: try closeRange(arguments, memory)
        case .fstat: try fstat(arguments, memory)
        case .fchdir: try fchdir(arguments, memory)
        case .fchmod: try fchmod(arguments, memory)
        case .getdents64: try getdents64(arguments, memory)
        case .getdents: try getdents(arguments, memory)
        case .dup: try dup(arguments, memory)
        case .dup2: try dup2(arguments, memory)
        case .dup3: try dup3(arguments, memory)
        case .fcntl: try fcntl(arguments, memory)
        case .lseek: try lseek(arguments, memory)
        case .pipe: try pipe(arguments, memory)
        case .pipe2: try pipe2(arguments, memory)
        case .ftruncate: try ftruncate(arguments, memory)
        case .ioctl: try ioctl(arguments, memory)
        case .fchown: try fchown(arguments, memory)
        case .fstatfs: try fstatfs(arguments, memory)
        case .flock: try flock(arguments, memory)
        case .fallocate: try fallocate(arguments, memory)
        case .memfdCreate: try memfdCreate(arguments, memory)
        case .fsync, .fdatasync, .syncfs: try fsync(arguments, memory)
        case .sync: .zero
        case .fadvise64: try fadvise64(arguments, memory)
        case .readahead: try readahead(arguments, memory)
        case .syncFileRange: try syncFileRange(arguments, memory)
        default: nil
        }
    }

    private mutating func performOnNames(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .open: try open(arguments, memory)
        case .openat: try openat(arguments, memory)
        case .openat2: try openat2(arguments, memory)
        case .creat: try creat(arguments, memory)
        case .stat: try stat(arguments, memory)
        case .lstat: try lstat(arguments, memory)
        case .newfstatat: try newfstatat(arguments, memory)
        case .statx: try statx(arguments, memory)
        case .access: try access(arguments, memory)
        case .faccessat: try faccessat(arguments, memory)
        case .faccessat2: try faccessat2(arguments, memory)
        case .readlink: try readlink(arguments, memory)
        case .readlinkat: try readlinkat(arguments, memory)
        case .unlink: try unlink(arguments, memory)
        case .rmdir: try rmdir(arguments, memory)
        case .unlinkat: try unlinkat(arguments, memory)
        case .mkdir: try mkdir(arguments, memory)
        case .mkdirat: try mkdirat(arguments, memory)
        case .mknod: try mknod(arguments, memory)
        case .mknodat: try mknodat(arguments, memory)
        case .rename: try rename(arguments, memory)
        case .renameat: try renameat(arguments, memory)
        case .renameat2: try renameat2(arguments, memory)
        case .link: try link(arguments, memory)
        case .linkat: try linkat(arguments, memory)
        case .symlink: try symlink(arguments, memory)
        case .symlinkat: try symlinkat(arguments, memory)
        case .chdir: try chdir(arguments, memory)
        case .getcwd: try getcwd(arguments, memory)
        case .umask: try umask(arguments, memory)
        case .truncate: try truncate(arguments, memory)
        default: nil
        }
    }

    private mutating func performOnAttributes(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .chmod: try chmod(arguments, memory)
        case .fchmodat: try fchmodat(arguments, memory)
        case .chown: try chown(arguments, memory)
        case .lchown: try lchown(arguments, memory)
        case .fchownat: try fchownat(arguments, memory)
        case .utimensat: try utimensat(arguments, memory)
        case .futimesat: try futimesat(arguments, memory)
        case .utimes: try utimes(arguments, memory)
        case .utime: try utime(arguments, memory)
        case .statfs: try statfs(arguments, memory)
        case .getxattr: try getxattr(arguments, of: .path, memory)
        case .lgetxattr: try getxattr(arguments, of: .link, memory)
        case .fgetxattr: try getxattr(arguments, of: .descriptor, memory)
        case .listxattr: try listxattr(arguments, of: .path, memory)
        case .llistxattr: try listxattr(arguments, of: .link, memory)
        case .flistxattr: try listxattr(arguments, of: .descriptor, memory)
        case .setxattr, .removexattr: try changexattr(arguments, of: .path, memory)
        case .lsetxattr, .lremovexattr: try changexattr(arguments, of: .link, memory)
        case .fsetxattr, .fremovexattr: try changexattr(arguments, of: .descriptor, memory)
        default: nil
        }
    }

    private mutating func performOnReadiness(
        _ call: SystemCall, _ arguments: CallArguments, _ memory: borrowing GuestMemory
    ) throws(Errno) -> CallEnd? {
        switch call {
        case .poll: try poll(arguments, memory)
        case .ppoll: try ppoll(arguments, memory)
        case .select: try select(arguments, memory)
        case .pselect6: try pselect6(arguments, memory)
        case .eventfd: try eventfd(arguments, memory)
        case .eventfd2: try eventfd2(arguments, memory)
        case .epollCreate: try epollCreate(arguments, memory)
        case .epollCreate1: try epollCreate1(arguments, memory)
        case .epollCtl: try epollCtl(arguments, memory)
        case .epollWait: try epollWait(arguments, memory)
        case .epollPwait: try epollPwait(arguments, memory)
        case .epollPwait2: try epollPwait2(arguments, memory)
        default: nil
        }
    }
}
