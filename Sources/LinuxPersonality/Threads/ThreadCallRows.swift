// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is supported of the calls about threads, and what is refused.
enum ThreadCallRows {
    static let rows: [CallRow] = [
        CallRow(
            calls: [.clone],
            supported: "threads that share memory, files and handlers; at most 1024, which take turns on one processor",
            refused: "ENOSYS for processes; threads that do not share all EINVAL; namespaces EPERM; more threads EAGAIN"
        ),
        CallRow(calls: [.fork, .vfork], refused: "ENOSYS"),
        CallRow(calls: [.clone3, .rseq], refused: "ENOSYS"),
        CallRow(
            calls: [.exit, .exitGroup, .gettid, .setTidAddress], supported: "as Linux"),
        CallRow(
            calls: [.futex], supported: "WAIT, WAKE, WAIT_BITSET, WAKE_BITSET, REQUEUE, CMP_REQUEUE, WAKE_OP",
            refused: "locks that inherit priority ENOSYS"),
        CallRow(
            calls: [.setRobustList, .getRobustList], supported: "at most 2048 locks", refused: "other sizes EINVAL"),
        CallRow(calls: [.schedYield], supported: "all other threads have their turn"),
        CallRow(
            calls: [.membarrier], supported: "nothing to do", refused: "registrations for rseq EINVAL"),
    ]
}

/// What is supported of the calls about signals and timers, and what is refused.
enum SignalCallRows {
    static let rows: [CallRow] = [
        CallRow(
            calls: [
                .rtSigaction, .rtSigprocmask, .rtSigreturn, .rtSigpending, .rtSigsuspend, .rtSigtimedwait, .sigaltstack,
            ],
            supported: "handlers on the thread's or an alternate stack, with the frames of Linux"),
        CallRow(calls: [.pause], supported: "as Linux"),
        CallRow(
            calls: [.kill, .tkill, .tgkill, .rtSigqueueinfo, .rtTgsigqueueinfo],
            supported: "to the process itself and its threads; at most 1024 signals pending",
            refused: "others ESRCH; more real-time signals EAGAIN"),
        CallRow(
            calls: [.alarm, .setitimer, .getitimer], supported: "ITIMER_REAL, no sooner again than 100 us",
            refused: "timers of processor time EINVAL"),
        CallRow(
            calls: [.timerCreate, .timerSettime, .timerGettime, .timerGetoverrun, .timerDelete],
            supported: "signals, to a thread too; at most 64 timers; processor time is the time that has passed",
            refused: "more timers EAGAIN"),
    ]
}

/// What is supported of the calls about the process's limits and rights, and what is refused.
enum LimitCallRows {
    static let rows: [CallRow] = [
        CallRow(
            calls: [.prlimit64, .getrlimit, .setrlimit],
            supported: "told and kept; what is enforced are the job's own limits", refused: "more than before EPERM"),
        CallRow(
            calls: [.getrusage, .times], supported: "processor time is the time that has passed"),
        CallRow(
            calls: [.archPrctl], supported: "SET_FS, GET_FS, SET_GS, GET_GS",
            refused: "addresses that are no program's EPERM; SET_CPUID ENODEV; others EINVAL"),
        CallRow(
            calls: [.prctl], supported: "names; what else runtimes ask has Linux's first answer",
            refused: "CAPBSET_DROP EPERM; others EINVAL"),
        CallRow(
            calls: [.execve], supported: "programs and scripts of the job's files, as they came",
            refused: "files that were written ETXTBSY; arguments beyond 128 KiB E2BIG"),
        CallRow(calls: [.wait4, .waitid], supported: "there are no children", refused: "ECHILD"),
        CallRow(calls: [.seccomp], refused: "EINVAL"),
    ]
}
