// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// What Swift's Glibc hides about sockets and limits, and what would take pointers in Swift. Results come back by value, with
// -errno in `error` where something can fail.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "clinux_client.h"

/// Who is at the other end of a connected Unix socket.
struct clinux_peer {
    int error;
    int32_t process;
    uint32_t user;
    uint32_t group;
};

/// SO_PEERCRED.
struct clinux_peer clinux_peer_credentials(int fd);

struct clinux_socket_pair {
    int error;
    int first;
    int second;
};

/// Two connected Unix stream sockets, closed on exec.
struct clinux_socket_pair clinux_make_socket_pair(void);

/// Raises this process's soft limit of open descriptors to its hard limit. Returns the limit or -errno.
int64_t clinux_raise_descriptor_limit(void);

/// Removes a socket file. Returns 0 or -errno; a file that is not a socket is -ENOTSOCK and stays.
int clinux_remove_socket(const char *_Nonnull path);

/// A Unix stream socket that listens at a path with these permissions, closed on exec. Returns it or -errno.
int clinux_listen(const char *_Nonnull path, uint32_t mode, int backlog);

/// Whether somebody answers at a path, without waiting. Returns 0 if so; -ECONNREFUSED, or another -errno.
int clinux_try_to_connect(const char *_Nonnull path);

/// chmod. Returns 0 or -errno.
int clinux_set_mode(const char *_Nonnull path, uint32_t mode);

/// Whether there is anything at this path. Returns 1, 0, or -errno when that cannot be told.
int clinux_exists(const char *_Nonnull path);

/// Whether there is a socket at this path. Returns 1, 0, or -errno when that cannot be told.
int clinux_is_socket(const char *_Nonnull path);

/// Reads a file from its start, at most `size` bytes. Returns how many there were, or -errno.
int64_t clinux_read_file(const char *_Nonnull path, uint8_t *_Nonnull buffer, size_t size);

/// The number of a user of this machine, as its user databases have it. Returns -ENOENT where there is none of this name, else
/// -errno. Blocks for as long as a database takes. getpwnam_r.
int64_t clinux_user_number(const char *_Nonnull name);

/// From here on a write to a closed socket is an error and not the end of the process.
void clinux_ignore_sigpipe(void);

void clinux_close(int fd);
