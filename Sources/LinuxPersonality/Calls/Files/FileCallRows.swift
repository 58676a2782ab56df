// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is supported of each call about files, and what is refused: the rows of the documentation.
enum FileCallRows {
    static let rows: [CallRow] = [
        CallRow(
            calls: [.open, .openat, .openat2, .creat],
            supported:
                "all access modes and O_CREAT, EXCL, TRUNC, APPEND, NONBLOCK, DIRECTORY, NOFOLLOW, CLOEXEC, PATH, "
                + "TMPFILE",
            refused:
                "a name for an O_TMPFILE ENOENT; a file without the right EACCES; full scratch ENOSPC; ways to resolve a path "
                + "other than the usual one ENOSYS"),
        CallRow(calls: [.close, .closeRange], supported: "with CLOSE_RANGE_CLOEXEC", refused: "other flags EINVAL"),
        CallRow(
            calls: [.read, .readv, .pread64, .preadv, .preadv2],
            supported: "files, devices, standard input, pipes, sockets, event counters, timers",
            refused: "RWF flags EOPNOTSUPP"),
        CallRow(
            calls: [.write, .writev, .pwrite64, .pwritev, .pwritev2],
            supported: "files, devices, standard output and error (64 KiB a call), pipes, sockets, event counters",
            refused: "RWF flags EOPNOTSUPP; full scratch ENOSPC; beyond 1 TiB EFBIG"),
        CallRow(
            calls: [.stat, .lstat, .fstat, .newfstatat, .statx], supported: "all fields that files have",
            refused: "unknown flags EINVAL"),
        CallRow(
            calls: [.access, .faccessat, .faccessat2], supported: "by the owner's bits of the mode",
            refused: "unknown flags EINVAL"),
        CallRow(
            calls: [.readlink, .readlinkat], supported: "with /proc/self/exe and /proc/self/fd",
            refused: "others EINVAL"),
        CallRow(
            calls: [.getdents64, .getdents], supported: "in the order of the names' bytes",
            refused: "no directory ENOTDIR"),
        CallRow(
            calls: [
                .unlink, .unlinkat, .rmdir, .mkdir, .mkdirat, .rename, .renameat, .renameat2, .link, .linkat, .symlink,
                .symlinkat, .mknod, .mknodat,
            ],
            supported: "in the whole tree, as far as the scratch has room; RENAME_NOREPLACE and RENAME_EXCHANGE",
            refused:
                "full scratch ENOSPC; RENAME_WHITEOUT EINVAL; devices and pipes EPERM; linkat with AT_EMPTY_PATH ENOENT"
        ),
        CallRow(
            calls: [.chdir, .fchdir, .getcwd, .umask, .chmod, .fchmod, .fchmodat],
            supported: "as Linux", refused: "files of the personality's own EPERM"),
        CallRow(
            calls: [.chown, .lchown, .fchown, .fchownat], supported: "to the owner that a file has",
            refused: "any other EPERM"),
        CallRow(
            calls: [.utimensat, .futimesat, .utimes, .utime], supported: "with UTIME_NOW and UTIME_OMIT",
            refused: "bad times EINVAL"),
        CallRow(
            calls: [
                .getxattr, .lgetxattr, .fgetxattr, .listxattr, .llistxattr, .flistxattr, .setxattr, .lsetxattr,
                .fsetxattr, .removexattr, .lremovexattr, .fremovexattr,
            ], supported: "no file has extended attributes",
            refused: "asking for one ENODATA; changing one EOPNOTSUPP"),
        CallRow(
            calls: [.fadvise64, .readahead, .syncFileRange], supported: "nothing to do: all files are in memory",
            refused: "streams ESPIPE, or EINVAL for readahead"),
        CallRow(
            calls: [.lseek, .truncate, .ftruncate], supported: "with SEEK_DATA and SEEK_HOLE (64 KiB)",
            refused: "streams ESPIPE; beyond 1 TiB EFBIG"),
        CallRow(calls: [.fallocate], supported: "mode 0, as growth", refused: "other modes EOPNOTSUPP"),
        CallRow(
            calls: [.fsync, .fdatasync, .syncfs, .sync], supported: "nothing to do", refused: "streams EINVAL"),
        CallRow(calls: [.statfs, .fstatfs], supported: "the scratch, as a tmpfs"),
        CallRow(
            calls: [.dup, .dup2, .dup3, .fcntl, .flock],
            supported: "DUPFD, CLOEXEC, GETFD, SETFD, GETFL, SETFL, locks (always granted), GETPIPE_SZ, SETPIPE_SZ",
            refused: "other commands EINVAL; more than 1024 descriptors EMFILE"),
        CallRow(calls: [.ioctl], supported: "FIONREAD, FIONBIO, FIOCLEX, FIONCLEX", refused: "all others ENOTTY"),
        CallRow(calls: [.pipe, .pipe2], supported: "64 KiB; O_CLOEXEC, O_NONBLOCK", refused: "other flags EINVAL"),
        CallRow(calls: [.eventfd, .eventfd2], supported: "with EFD_SEMAPHORE", refused: "other flags EINVAL"),
        CallRow(
            calls: [.poll, .ppoll, .select, .pselect6], supported: "all kinds of descriptors",
            refused: "more than 1024 descriptors EINVAL"),
        CallRow(
            calls: [.epollCreate, .epollCreate1, .epollCtl, .epollWait, .epollPwait, .epollPwait2],
            supported: "levels, edges, one shot", refused: "files EPERM; an epoll in one that is in another ELOOP"),
        CallRow(calls: [.memfdCreate], supported: "MFD_CLOEXEC", refused: "MFD_HUGETLB EINVAL; seals EINVAL"),
        CallRow(
            calls: [.sendfile, .copyFileRange], supported: "from files to files or standard output, 64 KiB a call",
            refused: "others EINVAL"),
        CallRow(calls: [.getrandom], supported: "from the job's seed", refused: "unknown flags EINVAL"),
    ]
}
