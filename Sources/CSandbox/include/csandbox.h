// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// What Swift cannot say itself about seccomp(2) and landlock(7): function-like macros, system calls without a function, and
// structures that this system's headers may not have yet. Every call returns the result or -errno. No policy lives here.
#pragma once

#include <linux/prctl.h>
#include <linux/sched.h>
#include <stdint.h>

/// Requests of prctl(2), and flags of clone(2): of any thread, and those that pthread_create passes, to the bit.
static const uint32_t CSANDBOX_SET_NAME = PR_SET_NAME;
static const uint32_t CSANDBOX_CLONE_THREAD = CLONE_THREAD;
static const uint32_t CSANDBOX_THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
    CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

/// Gives up for good that an execve could add privileges. Of the calling thread and those that it starts.
int csandbox_set_no_new_privileges(void);

/// Makes /dev/null descriptor 0.
int csandbox_empty_standard_input(void);

// MARK: seccomp

/// What becomes of a call.
enum csandbox_answer {
    CSANDBOX_ALLOW = 0,
    /// It fails, with the rule's error number; 0 makes it seem to have succeeded.
    CSANDBOX_FAIL = 1,
    /// SIGSYS, which no handler gets: the process ends and the kernel's log says why.
    CSANDBOX_KILL = 2,
};

/// How an argument is compared; 64 bits of it.
enum csandbox_comparison {
    /// Its bits in the mask are those of the value.
    CSANDBOX_MASKED_EQUAL = 0,
    CSANDBOX_NOT_EQUAL = 1,
};

/// A condition on one argument of a call.
struct csandbox_condition {
    /// Which, from 0.
    unsigned argument;
    enum csandbox_comparison comparison;
    uint64_t mask;
    uint64_t value;
};

/// Starts a filter which gives this answer to every call that no rule is for. Returns 0 and the filter, to be released.
int csandbox_filter_begin(void *_Nullable *_Nonnull filter, enum csandbox_answer answer, int error);

/// A rule: this answer to the call of this name, where all conditions hold, at most 6. Returns 0; or -ENOENT where this system's
/// library does not know the name.
int csandbox_filter_add(
    void *_Nonnull filter, enum csandbox_answer answer, int error, const char *_Nonnull name,
    const struct csandbox_condition *_Nullable conditions, unsigned count);

/// Puts every thread of the process under the filter, for good. Calls of another architecture kill.
int csandbox_filter_load(void *_Nonnull filter);

/// Writes the filter as instructions of BPF, for tests.
int csandbox_filter_write(void *_Nonnull filter, int fd);

void csandbox_filter_release(void *_Nonnull filter);

// MARK: Landlock

/// The newest version of Landlock's interface that is used here, and of which all rights are named below.
enum { CSANDBOX_LANDLOCK_NEWEST = 7 };

/// The kernel's version of the interface. Returns it, or -errno: -ENOSYS or -EOPNOTSUPP where there is none.
int csandbox_landlock_version(void);

/// Makes a set of rules in which nothing that the version knows is permitted: no file, no TCP, no abstract Unix socket of another
/// process, no signal to another. Returns a descriptor.
int csandbox_landlock_begin(int version);

/// Permits one path to be opened for reading and, if `writes`, for writing and ioctl. Returns 0, or -errno of open(2).
int csandbox_landlock_permit(int rules, int version, const char *_Nonnull path, int writes);

/// Puts the calling thread and those that it starts under the rules, for good; closes the descriptor.
int csandbox_landlock_enter(int rules);

/// How many threads this process has. Returns that, or -errno.
int csandbox_count_threads(void);
