// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
//
// What a client needs beside sockets: a program that carries its bytes to another machine, the other end of that, the
// names of users, and a terminal that gives single keys. Results come back by value, -errno where something can fail.
#pragma once

#include <stddef.h>
#include <stdint.h>

/// Starts a program that is looked for in PATH, with `stream` as its standard input and output and without SIGINT, which
/// is for the caller alone. It gets SIGTERM when the calling thread ends, so that it never outlives it. `errors` is its standard
/// error, -1 for the caller's.
///
/// `words` are `count` strings, each with its closing zero, one behind the other; the first is the program's name.
/// Returns a pidfd, or -errno, also when the program could not be executed.
int clinux_start_child(const char *_Nonnull words, int count, int stream, int errors);

/// Waits for a child's end. Returns its exit status, 128 and the signal's number, or -errno.
int clinux_wait_child(int pidfd);

/// Sends SIGTERM to a child; nothing to one that has ended.
void clinux_terminate_child(int pidfd);

/// Connects a stream socket, closed on exec. Returns it or -errno.
int clinux_connect(const char *_Nonnull path);

/// Waits until there is something to read, or an end. Returns 1, 0 when the time is over, or -errno. Blocks.
int clinux_await_input(int fd, int milliseconds);

/// Copies bytes until there are no more to read, or nobody is left to read them: then 0. Returns -errno when a call
/// failed. Blocks.
int clinux_copy_stream(int from, int to);

/// Writes all bytes, also to a descriptor that somebody made non-blocking. Returns 0 or -errno. Blocks.
int clinux_write_all(int fd, const void *_Nullable bytes, size_t count);

/// Tells the reader of a socket or a pipe that no more will come. A pipe is closed by that, and so is everything else.
void clinux_finish_stream(int fd);

/// A user's name in a buffer of `size` bytes, with its closing zero. Returns its length, or -errno; -ENOENT for one
/// who has none.
int clinux_user_name(uint32_t user, char *_Nonnull buffer, int size);

/// Makes a terminal give each key at once, and show none. SIGTSTP has no key then. As it was, it becomes again at
/// the process's exit, or by the other call. Returns 0 or -errno.
int clinux_watch_keys(int fd);
void clinux_restore_terminal(void);

struct clinux_window {
    int error;
    int rows;
    int columns;
};

/// A terminal's size in characters.
struct clinux_window clinux_window_size(int fd);
