// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Calls that are known and refused on purpose, whatever their arguments are: each with the error by which programs go on.
enum RefusedCallRows {
    private struct Refusal {
        var error: Errno
        /// Why.
        var reason: String
        var calls: [SystemCall]
    }

    private static let refusals = [
        Refusal(
            error: .eperm, reason: "only who administers a machine may do it, and this user does not",
            calls: [
                .mount, .umount2, .pivotRoot, .chroot, .swapon, .swapoff, .reboot, .sethostname, .setdomainname,
                .settimeofday, .clockSettime, .adjtimex, .clockAdjtime, .iopl, .ioperm, .createModule, .initModule,
                .finitModule, .deleteModule, .acct, .quotactl, .quotactlFd, .syslog, .kexecLoad, .kexecFileLoad,
                .vhangup, .lookupDcookie, .openByHandleAt, .setgroups, .capset, .fanotifyInit, .fanotifyMark, .bpf,
                .perfEventOpen, .openTree, .moveMount, .fsopen, .fsconfig, .fsmount, .fspick, .mountSetattr, .setns,
                .unshare, .userfaultfd,
            ]),
        Refusal(
            error: .eperm, reason: "there is no other process",
            calls: [.ptrace, .processVmReadv, .processVmWritev, .kcmp, .pidfdGetfd, .migratePages, .movePages]),
        Refusal(
            error: .eopnotsupp, reason: "there are no handles of files, and no rules to give up rights by",
            calls: [.nameToHandleAt, .landlockCreateRuleset, .landlockAddRule, .landlockRestrictSelf]),
        Refusal(
            error: .enosys, reason: "as on a kernel without it, so that programs do without",
            calls: [
                .ioUringSetup, .ioUringEnter, .ioUringRegister, .ioSetup, .ioDestroy, .ioGetevents, .ioSubmit,
                .ioCancel, .ioPgetevents, .inotifyInit, .inotifyInit1, .inotifyAddWatch, .inotifyRmWatch, .shmget,
                .shmat, .shmctl, .shmdt, .semget, .semop, .semctl, .semtimedop, .msgget, .msgsnd, .msgrcv, .msgctl,
                .mqOpen, .mqUnlink, .mqTimedsend, .mqTimedreceive, .mqNotify, .mqGetsetattr, .addKey, .requestKey,
                .keyctl, .mbind, .setMempolicy, .getMempolicy, .setMempolicyHomeNode, .memfdSecret, .processMadvise,
                .processMrelease, .modifyLdt, .remapFilePages, .pkeyMprotect, .pkeyAlloc, .pkeyFree,
            ]),
        Refusal(
            error: .enosys, reason: "no Linux on x86-64 has it any more",
            calls: [
                .uselib, .ustat, .sysfs, .sysctl, .getKernelSyms, .queryModule, .nfsservctl, .getpmsg, .putpmsg,
                .afsSyscall, .tuxcall, .security, .vserver, .epollCtlOld, .epollWaitOld, .setThreadArea, .getThreadArea,
            ]),
        Refusal(error: .einval, reason: "no pipe can be joined to a file", calls: [.splice, .tee, .vmsplice]),
        Refusal(
            error: .eafnosupport, reason: "there is no network, and no family of addresses is known",
            calls: [.socket]),
    ]

    static let rows = refusals.map { CallRow(calls: $0.calls, refused: "\($0.error.name): \($0.reason)") }

    /// The error that a call gives whatever its arguments are.
    static let errors = Dictionary(
        uniqueKeysWithValues: refusals.flatMap { refusal in refusal.calls.map { ($0, refusal.error) } })
}
