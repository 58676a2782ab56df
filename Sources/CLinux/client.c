// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#define _GNU_SOURCE
#include "clinux_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

// In the child, between fork and exec: only what is safe there.
static void become(char **words, int stream, int errors, int report, pid_t parent) {
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    signal(SIGPIPE, SIG_DFL);
    // Ours are closed by exec anyway. Those of others in this process may not be, and whoever waits for their end would wait for the
    // child. A kernel that knows no close_range leaves them open.
    close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent && dup2(stream, STDIN_FILENO) >= 0 &&
        dup2(stream, STDOUT_FILENO) >= 0 && (errors < 0 || dup2(errors, STDERR_FILENO) >= 0) &&
        sigprocmask(SIG_SETMASK, &blocked, NULL) == 0) {
        execvp(words[0], words);
    }
    int error = errno;
    if (write(report, &error, sizeof error) < 0) _exit(126);
    _exit(127);
}

static int start(char **words, int stream, int errors) {
    // Closed by a successful exec, which is what the parent waits for.
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0) return -errno;
    pid_t parent = getpid(), child = fork();
    if (child == 0) become(words, stream, errors, report[1], parent);
    int error = child < 0 ? errno : 0;
    close(report[1]);
    ssize_t count;
    do count = child < 0 ? 0 : read(report[0], &error, sizeof error);
    while (count < 0 && errno == EINTR);
    close(report[0]);
    if (child < 0) return -error;
    int pidfd = count > 0 ? -error : pidfd_open(child, 0);
    if (pidfd >= 0) return pidfd;
    if (count <= 0) pidfd = -errno, kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return pidfd;
}

int clinux_start_child(const char *words, int count, int stream, int errors) {
    char **list = calloc((size_t)count + 1, sizeof *list);
    if (!list) return -ENOMEM;
    for (int index = 0; index < count; index++, words += strlen(words) + 1) list[index] = (char *)words;
    int result = start(list, stream, errors);
    free(list);
    return result;
}

int clinux_wait_child(int pidfd) {
    siginfo_t info;
    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0) {
        if (errno != EINTR) return -errno;
    }
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

void clinux_terminate_child(int pidfd) { pidfd_send_signal(pidfd, SIGTERM, NULL, 0); }

int clinux_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}

int clinux_await_input(int fd, int milliseconds) {
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    int count;
    do count = poll(&watched, 1, milliseconds);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

// A peer that went away is an end like any other.
static int copied(int error) { return error == EPIPE || error == ECONNRESET ? 0 : -error; }

static int wait_for(struct pollfd *watched, nfds_t count) {
    while (poll(watched, count, -1) < 0) {
        if (errno != EINTR) return -errno;
    }
    return 0;
}

int clinux_write_all(int fd, const void *bytes, size_t count) {
    const char *rest = bytes;
    while (count > 0) {
        ssize_t written = write(fd, rest, count);
        if (written >= 0) {
            rest += written;
            count -= (size_t)written;
        } else if (errno == EAGAIN) {
            int error = wait_for(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1);
            if (error) return error;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

int clinux_copy_stream(int from, int to) {
    char bytes[65536];
    for (;;) {
        // Without events the second tells only that nobody reads any more.
        struct pollfd watched[2] = {{.fd = from, .events = POLLIN}, {.fd = to}};
        int error = wait_for(watched, 2);
        if (error) return error;
        if (watched[1].revents) return watched[1].revents & POLLNVAL ? -EBADF : 0;
        ssize_t count = read(from, bytes, sizeof bytes);
        if (count == 0) return 0;
        if (count < 0 && errno != EINTR && errno != EAGAIN) return copied(errno);
        if (count > 0) error = clinux_write_all(to, bytes, (size_t)count);
        if (error) return copied(-error);
    }
}

void clinux_finish_stream(int fd) {
    if (shutdown(fd, SHUT_WR) < 0 && errno == ENOTSOCK) close(fd);
}

int clinux_user_name(uint32_t user, char *buffer, int size) {
    char strings[4096];
    struct passwd entry, *found = NULL;
    int error = getpwuid_r(user, &entry, strings, sizeof strings, &found);
    if (!found) return error ? -error : -ENOENT;
    size_t length = strlen(entry.pw_name);
    if (length >= (size_t)size) return -ERANGE;
    memcpy(buffer, entry.pw_name, length + 1);
    return (int)length;
}

static struct termios before;
static int watched = -1;

void clinux_restore_terminal(void) {
    if (watched >= 0) tcsetattr(watched, TCSAFLUSH, &before);
    watched = -1;
}

int clinux_watch_keys(int fd) {
    if (tcgetattr(fd, &before) < 0) return -errno;
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    raw.c_cc[VSUSP] = _POSIX_VDISABLE;
    if (tcsetattr(fd, TCSAFLUSH, &raw) < 0) return -errno;
    watched = fd;
    atexit(clinux_restore_terminal);
    return 0;
}

struct clinux_window clinux_window_size(int fd) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) < 0) return (struct clinux_window){.error = -errno};
    return (struct clinux_window){.rows = size.ws_row, .columns = size.ws_col};
}
