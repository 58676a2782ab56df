// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM
internal import CSandbox
internal import Glibc

extension SystemCallPolicy {
    /// A worker that is ready: it accepts clients, runs guests, writes its log, and opens nothing any more.
    ///
    /// Three answers beside "allowed". What a library may try beside honest work is refused, and the worker goes on. What nothing
    /// in the process ever calls, and only an intruder would, kills. The rest does not exist: that is how a C library learns on
    /// an old kernel that it has to do without a new call, so a newer library than these lists know goes on working too.
    ///
    /// - Parameters:
    ///   - process: this process's number.
    ///   - keepsJobs: whether it has the files open in which SQLite keeps detached jobs.
    public static func worker(process: Int32, keepsJobs: Bool) -> SystemCallPolicy {
        let own = UInt32(bitPattern: process)
        return SystemCallPolicy(
            groups: [
                guests, memory, threads, signals(own), clients, events, ending, ownFacts, seemsDone, emptyFile, refused,
                keptJobs(keepsJobs ? .allow : .fail(errno: EPERM)),
                otherProcesses(own), otherPrivileges, otherPlaces, kernel,
            ], rest: .fail(errno: ENOSYS))
    }

    /// Before there are threads, and while files are still needed: only what ``emptyFile`` explains.
    static let beginning = SystemCallPolicy(groups: [emptyFile], rest: .allow)

    // MARK: Allowed

    private static let guests = Group(
        .allow, "virtual machines: the requests of KVM and of an open counter that the worker makes, and no others",
        (requestsOfKVM + requestsOfCounters).map { Rule(call: "ioctl", conditions: [.number(1, is: UInt32($0))]) })

    /// Those of ckvm.h. `KVM_RUN` is the one that has to be quick.
    static let requestsOfKVM: [UInt] = [
        CKVM_RUN,
        CKVM_GET_REGS, CKVM_SET_REGS, CKVM_GET_SREGS, CKVM_SET_SREGS, CKVM_GET_XSAVE, CKVM_GET_XSAVE2, CKVM_SET_XSAVE,
        CKVM_GET_XCRS, CKVM_SET_XCRS, CKVM_GET_DEBUGREGS, CKVM_SET_DEBUGREGS, CKVM_GET_VCPU_EVENTS,
        CKVM_SET_VCPU_EVENTS,
        CKVM_GET_MSRS, CKVM_SET_MSRS, CKVM_SET_MP_STATE, CKVM_SET_GUEST_DEBUG, CKVM_TRANSLATE,
        CKVM_GET_DIRTY_LOG, CKVM_CLEAR_DIRTY_LOG, CKVM_SET_USER_MEMORY_REGION,
        CKVM_CREATE_VM, CKVM_CREATE_VCPU, CKVM_SET_CPUID2, CKVM_ENABLE_CAP, CKVM_SET_MSR_FILTER, CKVM_COALESCE_WRITES,
        CKVM_GET_STATS_FD, CKVM_GET_MSR_INDEX_LIST, CKVM_CHECK_EXTENSION,
        CKVM_SET_TSS_ADDR, CKVM_SET_IDENTITY_MAP_ADDR, CKVM_CREATE_IRQCHIP, CKVM_CREATE_PIT2, CKVM_GET_IRQCHIP,
        CKVM_GET_LAPIC, CKVM_GET_MP_STATE,
    ]

    static let requestsOfCounters: [UInt] = [
        CKVM_COUNTER_RESET, CKVM_COUNTER_PERIOD, CKVM_COUNTER_ENABLE, CKVM_COUNTER_DISABLE,
    ]

    private static let memory = Group(
        .allow, "memory, and never any that can be executed",
        calls: ["munmap", "mremap", "madvise", "mincore", "brk"],
        [
            Rule(call: "mmap", conditions: [.lacks(2, bits: executable)]),
            Rule(call: "mprotect", conditions: [.lacks(2, bits: executable)]),
        ])

    private static let executable = UInt64(PROT_EXEC)

    private static let threads = Group(
        .allow, "threads of this process: Dispatch starts them when it needs them",
        calls: [
            "futex", "set_robust_list", "rseq", "membarrier", "sched_yield", "sched_getaffinity", "gettid", "getpid",
        ],
        [
            // What pthread_create asks for, to the bit. By clone3, of which a filter sees nothing, it asks in vain first.
            Rule(call: "clone", conditions: [.number(0, is: UInt32(CSANDBOX_THREAD_FLAGS))]),
            Rule(call: "prctl", conditions: [.number(0, is: UInt32(CSANDBOX_SET_NAME))]),
        ])

    private static func signals(_ process: UInt32) -> Group {
        Group(
            .allow, "kicks of vCPUs, and the signals that end the worker; to this process only",
            calls: [
                "rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "rt_sigsuspend", "sigaltstack", "restart_syscall",
            ],
            [Rule(call: "tgkill", conditions: [.number(0, is: process)])])
    }

    private static let clients = Group(
        .allow, "clients who connect to the socket that is open already, and descriptors that are open",
        calls: [
            "listen", "accept4", "getsockname", "getpeername", "getsockopt", "shutdown",
            "read", "readv", "pread64", "write", "writev", "fstat",
        ],
        [
            // The null device stays descriptor 0.
            Rule(call: "close", conditions: [.isNot(0, 0)])
        ] + [F_GETFD, F_SETFD, F_GETFL, F_SETFL].map { Rule(call: "fcntl", conditions: [.number(1, is: UInt32($0))]) })

    private static let events = Group(
        .allow, "waiting, and clocks; a thread's timer signals that thread",
        calls: [
            "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2", "poll", "ppoll",
            "timerfd_create", "timerfd_settime", "timer_create", "timer_settime", "timer_delete",
            "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
        ])

    private static let ending = Group(.allow, "the end of a thread and of the process", calls: ["exit", "exit_group"])

    private static let ownFacts = Group(
        .allow, "questions about this process alone",
        calls: [
            "getrandom", "getuid", "geteuid", "getgid", "getegid", "getppid", "getrusage", "times", "uname", "sysinfo",
            "getcpu",
        ],
        [Rule(call: "prlimit64", conditions: [.number(0, is: 0), .isZero(2)])])

    /// SQLite reads, and asks for sizes, by calls that clients need too. It opens, locks, removes and looks up nothing any more: its
    /// files and its locks on them are from before, and what it sorts and undoes is in memory.
    private static func keptJobs(_ answer: Answer) -> Group {
        Group(
            answer, "writing, cutting and flushing files that are open: those of kept jobs",
            calls: ["pwrite64", "ftruncate", "fdatasync"])
    }

    // MARK: Answered

    private static let seemsDone = Group(
        .fail(errno: 0), "Dispatch sets the priority of each of its threads and complains if it may not",
        calls: ["setpriority"])

    /// Dispatch's monitor looks at `/proc/THREAD/stat`, by exactly these flags, when work waits for a second, and traps if it
    /// cannot. It is given the null device, in which it finds nothing, and which its close leaves open.
    private static let emptyFile = Group(
        .fail(errno: 0),
        "who opens a file as Dispatch's monitor of its threads does gets descriptor 0, the null device",
        [Rule(call: "openat", conditions: [.number(2, is: monitorFlags)]), closeOfInput])

    private static let monitorFlags = UInt32(O_RDONLY | O_NONBLOCK)
    private static let closeOfInput = Rule(call: "close", conditions: [.number(0, is: 0)])

    private static let refused = Group(
        .fail(errno: EPERM), "what a library may try beside honest work: files, sockets, counters, priorities, limits",
        calls: [
            "open", "openat2", "creat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2",
            "readlink", "readlinkat", "getdents64", "getcwd", "chdir", "fchdir", "unlink", "unlinkat", "rename",
            "renameat",
            "renameat2", "mkdir", "mkdirat", "rmdir", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmod",
            "fchmodat", "chown", "fchown", "lchown", "fchownat", "truncate", "statfs", "fstatfs",
            "socket", "socketpair", "connect", "bind", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg",
            "recvmmsg", "setsockopt", "pipe2", "dup", "dup2", "dup3", "perf_event_open", "setrlimit",
            "sched_setaffinity",
            "sched_setscheduler", "sched_setparam", "sched_setattr", "mlock", "mlockall",
        ],
        [
            Rule(call: "openat", conditions: [.isNot(2, UInt64(monitorFlags))]),
            Rule(call: "prlimit64", conditions: [.isNot(2, 0)]),
        ])

    // MARK: Killed

    private static func otherProcesses(_ process: UInt32) -> Group {
        Group(
            .kill, "another process, or another program in this one",
            calls: [
                "fork", "vfork", "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev",
                "process_madvise",
                "process_mrelease", "kcmp", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kill", "tkill",
                "rt_sigqueueinfo", "rt_tgsigqueueinfo", "memfd_create", "memfd_secret", "pkey_mprotect",
                "remap_file_pages", "shmat", "shmget",
            ],
            [
                Rule(call: "clone", conditions: [.lacks(0, bits: UInt64(CSANDBOX_CLONE_THREAD))]),
                Rule(call: "tgkill", conditions: [.isNot(0, UInt64(process))]),
                Rule(call: "mmap", conditions: [.has(2, bit: executable)]),
                Rule(call: "mprotect", conditions: [.has(2, bit: executable)]),
            ])
    }

    private static let otherPrivileges = Group(
        .kill, "other privileges",
        calls: [
            "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups",
            "capset", "personality", "seccomp", "keyctl", "add_key", "request_key", "arch_prctl", "modify_ldt",
        ])

    private static let otherPlaces = Group(
        .kill, "other name spaces, file systems and roots",
        calls: [
            "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen",
            "fsmount",
            "fsconfig", "fspick", "mount_setattr", "open_by_handle_at", "name_to_handle_at", "fanotify_init",
            "fanotify_mark", "mknod", "mknodat", "quotactl", "quotactl_fd", "swapon", "swapoff", "acct",
        ])

    private static let kernel = Group(
        .kill, "the kernel and its clocks, and what has been a way into it",
        calls: [
            "bpf", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "init_module",
            "finit_module",
            "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog", "iopl", "ioperm", "settimeofday",
            "clock_settime", "adjtimex", "clock_adjtime", "sethostname", "setdomainname", "vhangup", "lookup_dcookie",
            "migrate_pages", "move_pages", "mbind", "set_mempolicy",
        ])
}
