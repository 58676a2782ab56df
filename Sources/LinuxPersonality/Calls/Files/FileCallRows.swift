// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is supported of each call about files, and what is refused: the rows of the documentation.
enum FileCallRows {
    struct Row: Sendable {
        var calls: [SystemCall]
        var supported: String
        var refused: String
    }

    static let rows = [
        Row(
            calls: [.open, .openat, .creat],
            supported:
                "all access modes and O_CREAT, EXCL, TRUNC, APPEND, NONBLOCK, DIRECTORY, NOFOLLOW, CLOEXEC, PATH",
            refused: "O_TMPFILE EOPNOTSUPP; a file without the right EACCES; full scratch ENOSPC"),
        Row(calls: [.close, .closeRange], supported: "with CLOSE_RANGE_CLOEXEC", refused: "other flags EINVAL"),
        Row(
            calls: [.read, .readv, .pread64, .preadv, .preadv2],
            supported: "files, devices, standard input, pipes, event counters", refused: "RWF flags EOPNOTSUPP"),
        Row(
            calls: [.write, .writev, .pwrite64, .pwritev, .pwritev2],
            supported: "files, devices, standard output and error (64 KiB a call), pipes, event counters",
            refused: "RWF flags EOPNOTSUPP; full scratch ENOSPC; beyond 1 TiB EFBIG"),
        Row(
            calls: [.stat, .lstat, .fstat, .newfstatat, .statx], supported: "all fields that files have",
            refused: "unknown flags EINVAL"),
        Row(
            calls: [.access, .faccessat, .faccessat2], supported: "by the owner's bits of the mode",
            refused: "unknown flags EINVAL"),
        Row(
            calls: [.readlink, .readlinkat], supported: "with /proc/self/exe and /proc/self/fd",
            refused: "others EINVAL"),
        Row(calls: [.getdents64], supported: "in the order of the names' bytes", refused: "no directory ENOTDIR"),
        Row(
            calls: [
                .unlink, .unlinkat, .rmdir, .mkdir, .mkdirat, .rename, .renameat, .renameat2, .link, .linkat, .symlink,
                .symlinkat,
            ],
            supported: "in the whole tree, as far as the scratch has room; RENAME_NOREPLACE and RENAME_EXCHANGE",
            refused: "full scratch ENOSPC; RENAME_WHITEOUT EINVAL; linkat with AT_EMPTY_PATH ENOENT"),
        Row(
            calls: [.chdir, .fchdir, .getcwd, .umask, .chmod, .fchmod, .fchmodat],
            supported: "as Linux", refused: "files of the personality's own EPERM"),
        Row(
            calls: [.chown, .lchown, .fchown, .fchownat], supported: "to the owner that a file has",
            refused: "any other EPERM"),
        Row(calls: [.utimensat], supported: "with UTIME_NOW and UTIME_OMIT", refused: "bad times EINVAL"),
        Row(
            calls: [.lseek, .truncate, .ftruncate], supported: "with SEEK_DATA and SEEK_HOLE (64 KiB)",
            refused: "streams ESPIPE; beyond 1 TiB EFBIG"),
        Row(calls: [.fallocate], supported: "mode 0, as growth", refused: "other modes EOPNOTSUPP"),
        Row(calls: [.fsync], supported: "nothing to do (fdatasync and syncfs too)", refused: "streams EINVAL"),
        Row(calls: [.statfs, .fstatfs], supported: "the scratch, as a tmpfs", refused: ""),
        Row(
            calls: [.dup, .dup2, .dup3, .fcntl, .flock],
            supported: "DUPFD, CLOEXEC, GETFD, SETFD, GETFL, SETFL, locks (always granted), GETPIPE_SZ, SETPIPE_SZ",
            refused: "other commands EINVAL; more than 1024 descriptors EMFILE"),
        Row(calls: [.ioctl], supported: "FIONREAD, FIONBIO, FIOCLEX, FIONCLEX", refused: "all others ENOTTY"),
        Row(calls: [.pipe, .pipe2], supported: "64 KiB; O_CLOEXEC, O_NONBLOCK", refused: "other flags EINVAL"),
        Row(calls: [.eventfd, .eventfd2], supported: "with EFD_SEMAPHORE", refused: "other flags EINVAL"),
        Row(
            calls: [.poll, .ppoll, .select, .pselect6], supported: "all kinds of descriptors",
            refused: "signal masks are not put in place"),
        Row(
            calls: [.epollCreate, .epollCreate1, .epollCtl, .epollWait, .epollPwait, .epollPwait2],
            supported: "levels, edges, one shot", refused: "files EPERM; an epoll in another EINVAL"),
        Row(calls: [.memfdCreate], supported: "MFD_CLOEXEC", refused: "MFD_HUGETLB EINVAL; seals EINVAL"),
        Row(
            calls: [.sendfile, .copyFileRange], supported: "from files to files or standard output, 64 KiB a call",
            refused: "others EINVAL"),
        Row(calls: [.getrandom], supported: "from the job's seed", refused: "unknown flags EINVAL"),
        Row(calls: [.socket], supported: "", refused: "EAFNOSUPPORT; other calls on sockets ENOTSOCK"),
    ]
}
