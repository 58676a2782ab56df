// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Every system call that there is, and numbers that are none, with a bad pointer in each of its arguments in turn: nothing, not
// mapped, at the end of what is, read-only, at the end of all addresses, beyond them. Those calls are left out that would end or
// take apart the process as they should.

#include "survive.h"
#include <sys/syscall.h>
#include <sys/time.h>

static const int left_out[] = {
    SYS_mmap, SYS_mprotect, SYS_munmap, SYS_brk, SYS_mremap, SYS_rt_sigreturn, SYS_clone, SYS_fork, SYS_vfork, SYS_exit, SYS_exit_group,
    SYS_setrlimit, SYS_prlimit64, SYS_clone3, SYS_close_range, SYS_execve, SYS_execveat, SYS_rt_sigprocmask, SYS_munlockall, SYS_remap_file_pages,
    SYS_close, SYS_dup2, SYS_dup3, SYS_shmat, SYS_pkey_mprotect, SYS_reboot, SYS_seccomp, SYS_kexec_load, SYS_swapon, SYS_acct,
};

int main(void) {
    survive_faults();
    char *readable = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *whole = mmap(NULL, 3 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(whole + (1 << 16), 1 << 16);
    uint64_t bad[] = {0, (uint64_t)whole + (1 << 16) - 3, (uint64_t)readable, 0x7FFFFFF00000, 0x7FFFFFFFFFFF, 0xFFFFFFFFFFFFFFF8};
    long tried = 0, faults = 0, unknown = 0, fine = 0, interrupted = 0;
    for (volatile long number = 0; number < 470; number++) {
        for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++) if (left_out[i] == number) goto next;
        for (volatile int place = 0; place < 6; place++)
            for (volatile size_t which = 0; which < sizeof bad / sizeof *bad; which++)
                for (volatile int others = 0; others < 2; others++) {
                    uint64_t values[6];
                    for (int i = 0; i < 6; i++) values[i] = others ? (uint64_t)whole + 4096 : 0;
                    values[place] = bad[which];
                    tried++;
                    // What waits for ever is interrupted.
                    struct itimerval soon = {.it_value = {.tv_usec = 3000}};
                    if (TRYING()) {
                        setitimer(ITIMER_REAL, &soon, NULL);
                        long value = syscall(number, values[0], values[1], values[2], values[3], values[4], values[5]);
                        if (value >= 0) fine++;
                        else if (errno == EFAULT) faults++;
                        else if (errno == ENOSYS) unknown++;
                    } else if (caught == SIGALRM) interrupted++;
                    memset(whole + 4096, 0, 4096);
                }
    next:;
    }
    struct itimerval never = {0};
    setitimer(ITIMER_REAL, &never, NULL);
    fprintf(stderr, "%ld EFAULT, %ld ENOSYS, %ld fine, %ld interrupted\n", faults, unknown, fine, interrupted);
    printf("%ld tried, through\n", tried);
    return faults > 1000 ? 0 : 1;
}
