// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// What an intruder would try who owns a worker's process.
#pragma once

/// Where an act counts as met: in the sandbox, or already by the unit alone.
enum forbidden_act_scope {
    FORBIDDEN_BY_SANDBOX = 0,
    FORBIDDEN_BY_UNIT_TOO = 1,
};

/// What the acts find around them.
struct forbidden_acts_surroundings {
    /// Descriptors that the process has open, as a worker has.
    int kvm, machine, vcpu;
    /// A process that may be killed, ptraced and read, if anything lets one.
    int victim;
    /// The path and, without its first zero, the abstract name of two Unix stream sockets that somebody serves, and of a datagram
    /// socket at a path.
    const char *_Nonnull stream_path, *_Nonnull abstract_name, *_Nonnull datagram_path;
    /// The directory of the worker's state, with `jobs.sqlite` in it, which the process has open.
    const char *_Nonnull state_path;
    /// A TCP port of the loopback interface that somebody serves.
    int tcp_port;
};

struct forbidden_act {
    const char *_Nonnull name;
    enum forbidden_act_scope scope;
    /// Tries it. Returns 0 or more if it succeeded or got as far as the kernel's own work, or -errno of a refusal; or does not return.
    int (*_Nonnull try_it)(const struct forbidden_acts_surroundings *_Nonnull around);
};

/// Starts threads that wait, until no more are given or there are so many. Returns how many.
int forbidden_acts_start_threads(int most);

/// Takes memory and touches it. Returns 0 or -errno.
int forbidden_acts_take_memory(long bytes);

/// All of them, ended by one whose name is empty.
const struct forbidden_act *_Nonnull forbidden_acts(void);
