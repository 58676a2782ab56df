// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The system calls of Linux on x86-64, by the names and numbers of `asm/unistd_64.h`.
///
/// What each of them does for a guest is said in one place: ``SystemCallTable``.
enum SystemCall: UInt64, Sendable, CaseIterable {
    case read = 0
    case write = 1
    case open = 2
    case close = 3
    case stat = 4
    case fstat = 5
    case lstat = 6
    case poll = 7
    case lseek = 8
    case mmap = 9
    case mprotect = 10
    case munmap = 11
    case brk = 12
    case rtSigaction = 13
    case rtSigprocmask = 14
    case rtSigreturn = 15
    case ioctl = 16
    case pread64 = 17
    case pwrite64 = 18
    case readv = 19
    case writev = 20
    case access = 21
    case pipe = 22
    case select = 23
    case schedYield = 24
    case mremap = 25
    case msync = 26
    case mincore = 27
    case madvise = 28
    case shmget = 29
    case shmat = 30
    case shmctl = 31
    case dup = 32
    case dup2 = 33
    case pause = 34
    case nanosleep = 35
    case getitimer = 36
    case alarm = 37
    case setitimer = 38
    case getpid = 39
    case sendfile = 40
    case socket = 41
    case connect = 42
    case accept = 43
    case sendto = 44
    case recvfrom = 45
    case sendmsg = 46
    case recvmsg = 47
    case shutdown = 48
    case bind = 49
    case listen = 50
    case getsockname = 51
    case getpeername = 52
    case socketpair = 53
    case setsockopt = 54
    case getsockopt = 55
    case clone = 56
    case fork = 57
    case vfork = 58
    case execve = 59
    case exit = 60
    case wait4 = 61
    case kill = 62
    case uname = 63
    case semget = 64
    case semop = 65
    case semctl = 66
    case shmdt = 67
    case msgget = 68
    case msgsnd = 69
    case msgrcv = 70
    case msgctl = 71
    case fcntl = 72
    case flock = 73
    case fsync = 74
    case fdatasync = 75
    case truncate = 76
    case ftruncate = 77
    case getdents = 78
    case getcwd = 79
    case chdir = 80
    case fchdir = 81
    case rename = 82
    case mkdir = 83
    case rmdir = 84
    case creat = 85
    case link = 86
    case unlink = 87
    case symlink = 88
    case readlink = 89
    case chmod = 90
    case fchmod = 91
    case chown = 92
    case fchown = 93
    case lchown = 94
    case umask = 95
    case gettimeofday = 96
    case getrlimit = 97
    case getrusage = 98
    case sysinfo = 99
    case times = 100
    case ptrace = 101
    case getuid = 102
    case syslog = 103
    case getgid = 104
    case setuid = 105
    case setgid = 106
    case geteuid = 107
    case getegid = 108
    case setpgid = 109
    case getppid = 110
    case getpgrp = 111
    case setsid = 112
    case setreuid = 113
    case setregid = 114
    case getgroups = 115
    case setgroups = 116
    case setresuid = 117
    case getresuid = 118
    case setresgid = 119
    case getresgid = 120
    case getpgid = 121
    case setfsuid = 122
    case setfsgid = 123
    case getsid = 124
    case capget = 125
    case capset = 126
    case rtSigpending = 127
    case rtSigtimedwait = 128
    case rtSigqueueinfo = 129
    case rtSigsuspend = 130
    case sigaltstack = 131
    case utime = 132
    case mknod = 133
    case uselib = 134
    case personality = 135
    case ustat = 136
    case statfs = 137
    case fstatfs = 138
    case sysfs = 139
    case getpriority = 140
    case setpriority = 141
    case schedSetparam = 142
    case schedGetparam = 143
    case schedSetscheduler = 144
    case schedGetscheduler = 145
    case schedGetPriorityMax = 146
    case schedGetPriorityMin = 147
    case schedRrGetInterval = 148
    case mlock = 149
    case munlock = 150
    case mlockall = 151
    case munlockall = 152
    case vhangup = 153
    case modifyLdt = 154
    case pivotRoot = 155
    case sysctl = 156
    case prctl = 157
    case archPrctl = 158
    case adjtimex = 159
    case setrlimit = 160
    case chroot = 161
    case sync = 162
    case acct = 163
    case settimeofday = 164
    case mount = 165
    case umount2 = 166
    case swapon = 167
    case swapoff = 168
    case reboot = 169
    case sethostname = 170
    case setdomainname = 171
    case iopl = 172
    case ioperm = 173
    case createModule = 174
    case initModule = 175
    case deleteModule = 176
    case getKernelSyms = 177
    case queryModule = 178
    case quotactl = 179
    case nfsservctl = 180
    case getpmsg = 181
    case putpmsg = 182
    case afsSyscall = 183
    case tuxcall = 184
    case security = 185
    case gettid = 186
    case readahead = 187
    case setxattr = 188
    case lsetxattr = 189
    case fsetxattr = 190
    case getxattr = 191
    case lgetxattr = 192
    case fgetxattr = 193
    case listxattr = 194
    case llistxattr = 195
    case flistxattr = 196
    case removexattr = 197
    case lremovexattr = 198
    case fremovexattr = 199
    case tkill = 200
    case time = 201
    case futex = 202
    case schedSetaffinity = 203
    case schedGetaffinity = 204
    case setThreadArea = 205
    case ioSetup = 206
    case ioDestroy = 207
    case ioGetevents = 208
    case ioSubmit = 209
    case ioCancel = 210
    case getThreadArea = 211
    case lookupDcookie = 212
    case epollCreate = 213
    case epollCtlOld = 214
    case epollWaitOld = 215
    case remapFilePages = 216
    case getdents64 = 217
    case setTidAddress = 218
    case restartSyscall = 219
    case semtimedop = 220
    case fadvise64 = 221
    case timerCreate = 222
    case timerSettime = 223
    case timerGettime = 224
    case timerGetoverrun = 225
    case timerDelete = 226
    case clockSettime = 227
    case clockGettime = 228
    case clockGetres = 229
    case clockNanosleep = 230
    case exitGroup = 231
    case epollWait = 232
    case epollCtl = 233
    case tgkill = 234
    case utimes = 235
    case vserver = 236
    case mbind = 237
    case setMempolicy = 238
    case getMempolicy = 239
    case mqOpen = 240
    case mqUnlink = 241
    case mqTimedsend = 242
    case mqTimedreceive = 243
    case mqNotify = 244
    case mqGetsetattr = 245
    case kexecLoad = 246
    case waitid = 247
    case addKey = 248
    case requestKey = 249
    case keyctl = 250
    case ioprioSet = 251
    case ioprioGet = 252
    case inotifyInit = 253
    case inotifyAddWatch = 254
    case inotifyRmWatch = 255
    case migratePages = 256
    case openat = 257
    case mkdirat = 258
    case mknodat = 259
    case fchownat = 260
    case futimesat = 261
    case newfstatat = 262
    case unlinkat = 263
    case renameat = 264
    case linkat = 265
    case symlinkat = 266
    case readlinkat = 267
    case fchmodat = 268
    case faccessat = 269
    case pselect6 = 270
    case ppoll = 271
    case unshare = 272
    case setRobustList = 273
    case getRobustList = 274
    case splice = 275
    case tee = 276
    case syncFileRange = 277
    case vmsplice = 278
    case movePages = 279
    case utimensat = 280
    case epollPwait = 281
    case signalfd = 282
    case timerfdCreate = 283
    case eventfd = 284
    case fallocate = 285
    case timerfdSettime = 286
    case timerfdGettime = 287
    case accept4 = 288
    case signalfd4 = 289
    case eventfd2 = 290
    case epollCreate1 = 291
    case dup3 = 292
    case pipe2 = 293
    case inotifyInit1 = 294
    case preadv = 295
    case pwritev = 296
    case rtTgsigqueueinfo = 297
    case perfEventOpen = 298
    case recvmmsg = 299
    case fanotifyInit = 300
    case fanotifyMark = 301
    case prlimit64 = 302
    case nameToHandleAt = 303
    case openByHandleAt = 304
    case clockAdjtime = 305
    case syncfs = 306
    case sendmmsg = 307
    case setns = 308
    case getcpu = 309
    case processVmReadv = 310
    case processVmWritev = 311
    case kcmp = 312
    case finitModule = 313
    case schedSetattr = 314
    case schedGetattr = 315
    case renameat2 = 316
    case seccomp = 317
    case getrandom = 318
    case memfdCreate = 319
    case kexecFileLoad = 320
    case bpf = 321
    case execveat = 322
    case userfaultfd = 323
    case membarrier = 324
    case mlock2 = 325
    case copyFileRange = 326
    case preadv2 = 327
    case pwritev2 = 328
    case pkeyMprotect = 329
    case pkeyAlloc = 330
    case pkeyFree = 331
    case statx = 332
    case ioPgetevents = 333
    case rseq = 334
    case pidfdSendSignal = 424
    case ioUringSetup = 425
    case ioUringEnter = 426
    case ioUringRegister = 427
    case openTree = 428
    case moveMount = 429
    case fsopen = 430
    case fsconfig = 431
    case fsmount = 432
    case fspick = 433
    case pidfdOpen = 434
    case clone3 = 435
    case closeRange = 436
    case openat2 = 437
    case pidfdGetfd = 438
    case faccessat2 = 439
    case processMadvise = 440
    case epollPwait2 = 441
    case mountSetattr = 442
    case quotactlFd = 443
    case landlockCreateRuleset = 444
    case landlockAddRule = 445
    case landlockRestrictSelf = 446
    case memfdSecret = 447
    case processMrelease = 448
    case futexWaitv = 449
    case setMempolicyHomeNode = 450

    /// The kernel's own name for it.
    var name: String {
        switch self {
        case .rtSigaction: "rt_sigaction"
        case .rtSigprocmask: "rt_sigprocmask"
        case .rtSigreturn: "rt_sigreturn"
        case .schedYield: "sched_yield"
        case .rtSigpending: "rt_sigpending"
        case .rtSigtimedwait: "rt_sigtimedwait"
        case .rtSigqueueinfo: "rt_sigqueueinfo"
        case .rtSigsuspend: "rt_sigsuspend"
        case .schedSetparam: "sched_setparam"
        case .schedGetparam: "sched_getparam"
        case .schedSetscheduler: "sched_setscheduler"
        case .schedGetscheduler: "sched_getscheduler"
        case .schedGetPriorityMax: "sched_get_priority_max"
        case .schedGetPriorityMin: "sched_get_priority_min"
        case .schedRrGetInterval: "sched_rr_get_interval"
        case .modifyLdt: "modify_ldt"
        case .pivotRoot: "pivot_root"
        case .sysctl: "_sysctl"
        case .archPrctl: "arch_prctl"
        case .createModule: "create_module"
        case .initModule: "init_module"
        case .deleteModule: "delete_module"
        case .getKernelSyms: "get_kernel_syms"
        case .queryModule: "query_module"
        case .afsSyscall: "afs_syscall"
        case .schedSetaffinity: "sched_setaffinity"
        case .schedGetaffinity: "sched_getaffinity"
        case .setThreadArea: "set_thread_area"
        case .ioSetup: "io_setup"
        case .ioDestroy: "io_destroy"
        case .ioGetevents: "io_getevents"
        case .ioSubmit: "io_submit"
        case .ioCancel: "io_cancel"
        case .getThreadArea: "get_thread_area"
        case .lookupDcookie: "lookup_dcookie"
        case .epollCreate: "epoll_create"
        case .epollCtlOld: "epoll_ctl_old"
        case .epollWaitOld: "epoll_wait_old"
        case .remapFilePages: "remap_file_pages"
        case .setTidAddress: "set_tid_address"
        case .restartSyscall: "restart_syscall"
        case .timerCreate: "timer_create"
        case .timerSettime: "timer_settime"
        case .timerGettime: "timer_gettime"
        case .timerGetoverrun: "timer_getoverrun"
        case .timerDelete: "timer_delete"
        case .clockSettime: "clock_settime"
        case .clockGettime: "clock_gettime"
        case .clockGetres: "clock_getres"
        case .clockNanosleep: "clock_nanosleep"
        case .exitGroup: "exit_group"
        case .epollWait: "epoll_wait"
        case .epollCtl: "epoll_ctl"
        case .setMempolicy: "set_mempolicy"
        case .getMempolicy: "get_mempolicy"
        case .mqOpen: "mq_open"
        case .mqUnlink: "mq_unlink"
        case .mqTimedsend: "mq_timedsend"
        case .mqTimedreceive: "mq_timedreceive"
        case .mqNotify: "mq_notify"
        case .mqGetsetattr: "mq_getsetattr"
        case .kexecLoad: "kexec_load"
        case .addKey: "add_key"
        case .requestKey: "request_key"
        case .ioprioSet: "ioprio_set"
        case .ioprioGet: "ioprio_get"
        case .inotifyInit: "inotify_init"
        case .inotifyAddWatch: "inotify_add_watch"
        case .inotifyRmWatch: "inotify_rm_watch"
        case .migratePages: "migrate_pages"
        case .setRobustList: "set_robust_list"
        case .getRobustList: "get_robust_list"
        case .syncFileRange: "sync_file_range"
        case .movePages: "move_pages"
        case .epollPwait: "epoll_pwait"
        case .timerfdCreate: "timerfd_create"
        case .timerfdSettime: "timerfd_settime"
        case .timerfdGettime: "timerfd_gettime"
        case .epollCreate1: "epoll_create1"
        case .inotifyInit1: "inotify_init1"
        case .rtTgsigqueueinfo: "rt_tgsigqueueinfo"
        case .perfEventOpen: "perf_event_open"
        case .fanotifyInit: "fanotify_init"
        case .fanotifyMark: "fanotify_mark"
        case .nameToHandleAt: "name_to_handle_at"
        case .openByHandleAt: "open_by_handle_at"
        case .clockAdjtime: "clock_adjtime"
        case .processVmReadv: "process_vm_readv"
        case .processVmWritev: "process_vm_writev"
        case .finitModule: "finit_module"
        case .schedSetattr: "sched_setattr"
        case .schedGetattr: "sched_getattr"
        case .memfdCreate: "memfd_create"
        case .kexecFileLoad: "kexec_file_load"
        case .copyFileRange: "copy_file_range"
        case .pkeyMprotect: "pkey_mprotect"
        case .pkeyAlloc: "pkey_alloc"
        case .pkeyFree: "pkey_free"
        case .ioPgetevents: "io_pgetevents"
        case .pidfdSendSignal: "pidfd_send_signal"
        case .ioUringSetup: "io_uring_setup"
        case .ioUringEnter: "io_uring_enter"
        case .ioUringRegister: "io_uring_register"
        case .openTree: "open_tree"
        case .moveMount: "move_mount"
        case .pidfdOpen: "pidfd_open"
        case .closeRange: "close_range"
        case .pidfdGetfd: "pidfd_getfd"
        case .processMadvise: "process_madvise"
        case .epollPwait2: "epoll_pwait2"
        case .mountSetattr: "mount_setattr"
        case .quotactlFd: "quotactl_fd"
        case .landlockCreateRuleset: "landlock_create_ruleset"
        case .landlockAddRule: "landlock_add_rule"
        case .landlockRestrictSelf: "landlock_restrict_self"
        case .memfdSecret: "memfd_secret"
        case .processMrelease: "process_mrelease"
        case .futexWaitv: "futex_waitv"
        case .setMempolicyHomeNode: "set_mempolicy_home_node"
        default: "\(self)"
        }
    }
}
