// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct clinux_peer clinux_peer_credentials(int fd) {
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) return (struct clinux_peer){.error = -errno};
    return (struct clinux_peer){.process = credentials.pid, .user = credentials.uid, .group = credentials.gid};
}

struct clinux_socket_pair clinux_make_socket_pair(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return (struct clinux_socket_pair){.error = -errno, .first = -1, .second = -1};
    }
    return (struct clinux_socket_pair){.first = pair[0], .second = pair[1]};
}

int64_t clinux_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    return (int64_t)limit.rlim_cur;
}

int clinux_remove_socket(const char *path) {
    struct stat status;
    if (lstat(path, &status) < 0) return -errno;
    if (!S_ISSOCK(status.st_mode)) return -ENOTSOCK;
    return unlink(path) < 0 ? -errno : 0;
}

/// A path that does not fit is cut: the callers have checked it.
static struct sockaddr_un at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return address;
}

/// Closes a descriptor and returns what went wrong before.
static int give_up(int fd) {
    int result = -errno;
    close(fd);
    return result;
}

int clinux_listen(const char *path, uint32_t mode, int backlog) {
    struct sockaddr_un address = at(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0) return give_up(fd);
    // Nobody can connect before listen().
    if (chmod(path, (mode_t)mode) < 0 || listen(fd, backlog) < 0) return give_up(fd);
    return fd;
}

int clinux_try_to_connect(const char *path) {
    struct sockaddr_un address = at(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) return give_up(fd);
    close(fd);
    return 0;
}

int clinux_set_mode(const char *path, uint32_t mode) { return chmod(path, (mode_t)mode) < 0 ? -errno : 0; }

int clinux_exists(const char *path) {
    struct stat status;
    if (lstat(path, &status) == 0) return 1;
    return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
}

int clinux_is_socket(const char *path) {
    struct stat status;
    if (stat(path, &status) < 0) return -errno;
    return S_ISSOCK(status.st_mode);
}

int64_t clinux_read_file(const char *path, uint8_t *buffer, size_t size) {
    // A named pipe without a writer must not hold us up.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return -errno;
    size_t done = 0;
    ssize_t got = 0;
    while (done < size && (got = read(fd, buffer + done, size - done)) != 0) {
        if (got > 0) {
            done += (size_t)got;
        } else if (errno != EINTR) {
            break;
        }
    }
    int error = got < 0 ? -errno : 0;
    close(fd);
    return error < 0 ? error : (int64_t)done;
}

int64_t clinux_user_number(const char *name) {
    size_t size = 1 << 10;
    const size_t most = 1 << 20;
    for (;; size *= 2) {
        struct passwd entry, *found = NULL;
        char *buffer = malloc(size);
        if (!buffer) return -ENOMEM;
        int error = getpwnam_r(name, &entry, buffer, size, &found);
        int64_t number = found ? (int64_t)entry.pw_uid : -ENOENT;
        free(buffer);
        if (error == ERANGE && size < most) continue;
        return error ? -error : number;
    }
}

void clinux_ignore_sigpipe(void) { signal(SIGPIPE, SIG_IGN); }

void clinux_close(int fd) { close(fd); }
